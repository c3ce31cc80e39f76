package supervisor

import (
	"crypto/rand"
	"fmt"

	"github.com/supervisord/supervisord/backup/dump"
	"github.com/supervisord/supervisord/supervisor/state"
)

func notBacked(name string) error { return fmt.Errorf("%s is not backed up any more", name) }

// inUse is the tools of a database that is in use: in a service's container, or
// on this host for one outside.
func (k *keeper) inUse(c state.Cluster, name string) (dump.Engine, error) {
	if db, ok := c.Spec.OutsideOf(name); ok {
		return dump.NewOutside(dump.Options{
			Engine: db.Backup.Engine, Database: db.Backup.Database, LowPriority: db.Backup.LowPriority,
		}, dump.Outside{Address: db.Address, User: db.Login.User, File: db.Login.Credentials})
	}
	container, err := k.serving(k.current(), name)
	if err != nil {
		return nil, err
	}
	return k.database(c.Spec.Services[name], container)
}

// scratchOf is a definition of the containers for drills: the service's own, or
// for a database outside one with a new database of the image that the file
// names, without a network.
func scratchOf(spec state.Spec, name string) (state.Service, error) {
	db, ok := spec.OutsideOf(name)
	if !ok {
		if s, ok := spec.Services[name]; ok {
			return s, nil
		}
		return state.Service{}, fmt.Errorf("%s is no longer in the compose file", name)
	}
	if db.Login.Image == "" {
		return state.Service{}, fmt.Errorf("a drill of %s needs a container: its backup key in x-supervisor.databases names no verify_image", name)
	}
	s := state.Service{Name: name, Backup: &state.Backup{Engine: db.Backup.Engine, LowPriority: db.Backup.LowPriority}}
	s.Container.Image = db.Login.Image
	switch db.Backup.Engine {
	case "postgres":
		s.Container.Environment = []string{"POSTGRES_PASSWORD=" + rand.Text()}
	case "mysql":
		s.Container.Environment = []string{"MYSQL_ROOT_PASSWORD=" + rand.Text()}
	}
	return s, nil
}
