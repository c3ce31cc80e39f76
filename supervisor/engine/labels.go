package engine

// The labels that each of our containers carries, networks and volumes that we
// made only the first.
const (
	// LabelCluster is the id of the cluster that owns it.
	LabelCluster = "io.supervisord.cluster"
	// LabelService is the service's name in the compose file.
	LabelService = "io.supervisord.service"
	// LabelInstance is the instance's id in the state.
	LabelInstance = "io.supervisord.instance"
	// LabelRevision is the hash of the definition that it was made from.
	LabelRevision = "io.supervisord.revision"
	// LabelScratch is the id of the cluster that owns a container of a restore
	// drill, and LabelTask the task that it was made for. Such a container does
	// not carry LabelCluster: it is no instance, and no agent looks for it.
	LabelScratch = "io.supervisord.scratch"
	LabelTask    = "io.supervisord.task"
	// LabelPort is the container's port that is published for the load
	// balancer; it is absent where none is.
	LabelPort = "io.supervisord.port"
)
