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
	// LabelPort is the container's port that is published for the load
	// balancer; it is absent where none is.
	LabelPort = "io.supervisord.port"
)
