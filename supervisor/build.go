package supervisor

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/supervisord/supervisord/supervisor/compose"
	"github.com/supervisord/supervisord/supervisor/engine"
)

// BuildOptions say how the images of a compose file are built.
type BuildOptions struct {
	// Docker is the engine's address; empty for DOCKER_HOST or its socket.
	Docker string
	// File is the compose file; its build keys say what is built.
	File    string
	Environ []string
	// NoCache builds every step anew.
	NoCache bool
	// Tell gets what happens as it happens.
	Tell func(service, text string)
}

// Build builds the images of the services that have a build key, on this host's
// engine, and returns by service what they are called. The name ends with the
// first digits of the image's id: what is built anew is another image, and an
// earlier one can be gone back to.
func Build(ctx context.Context, o BuildOptions) (map[string]string, error) {
	p, err := compose.Load(ctx, o.File, compose.Options{Environ: o.Environ})
	if err != nil {
		return nil, err
	}
	if len(p.Builds) == 0 {
		return nil, fmt.Errorf("%s has no service with a build key", o.File)
	}
	images := map[string]string{}
	for _, b := range p.Builds {
		if len(b.Unknown) > 0 {
			return nil, fmt.Errorf("%s: services.%s.build: %s: not supported: want context, dockerfile, args and target", o.File, b.Service, strings.Join(b.Unknown, ", "))
		}
		if strings.Contains(b.Image, "@") {
			return nil, fmt.Errorf("%s: services.%s.image: %s has a digest: want a name that what is built can have", o.File, b.Service, b.Image)
		}
		id, err := engine.Build(ctx, o.Docker, engine.BuildOptions{
			Context: b.Context, Dockerfile: b.Dockerfile, Tags: []string{b.Image}, Args: b.Args, Target: b.Target, NoCache: o.NoCache,
			Tell: func(text string) { o.Tell(b.Service, text) },
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.Service, err)
		}
		images[b.Service] = unique(b.Image, id)
		if err := engine.Tag(ctx, o.Docker, id, images[b.Service]); err != nil {
			return nil, fmt.Errorf("%s: %w", b.Service, err)
		}
	}
	return images, nil
}

// madeUnique is how the tag of an image that was built here ends.
var madeUnique = regexp.MustCompile(`-[0-9a-f]{12}$`)

// unique is an image's name with the first digits of its id at the end of the
// tag, in place of an earlier one's.
func unique(image, id string) string {
	name, tag := image, "built"
	if at := strings.LastIndex(image, ":"); at > strings.LastIndex(image, "/") {
		name, tag = image[:at], image[at+1:]
	}
	return name + ":" + madeUnique.ReplaceAllString(tag, "") + "-" + strings.TrimPrefix(id, "sha256:")[:12]
}
