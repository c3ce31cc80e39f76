// Package compose reads the operator's docker-compose.prod.yml: it turns the
// file into a state.Spec, or says in which line what is wrong.
//
// The meaning of the standard keys is docker compose's own, because
// compose-go, the library behind it, does the loading: interpolation, anchors,
// merge keys, extends, short and long forms. Our keys are extensions
// (x-autoscale, x-ingress and x-database of a service, x-supervisor of the
// file), so the same file still works with docker compose. A key that would
// have no effect here is refused by name instead of being ignored.
//
// Every problem of a file is reported at once, each as an *Error with file,
// line and column. A file with a problem gives no Project at all.
//
// # What differs from docker compose
//
//   - restart: always and unless-stopped say what supervisord does anyway. "no"
//     and on-failure promise that a container that ends stays ended; that would
//     not be kept, so they are refused.
//   - build is accepted next to image, with a warning: docker compose builds
//     the image from the same file, supervisord only runs it. build without
//     image is refused, since nothing would name the image.
//   - deploy.replicas outside of the bounds of x-autoscale is refused, not
//     clamped: the file says two things, and only its author knows which one
//     is meant.
//   - A variable that is not set gives an empty string and a warning, as there;
//     for env files the warning names no variable, since what follows a "$" may
//     be part of a password.
//   - Paths that begin with "~" are refused: a daemon has no home.
//   - Sources of bind mounts are not made by us, so create_host_path: true is
//     refused; a missing directory is an error where the container starts.
//   - Files of secrets and configs have to exist when the file is read. Their
//     contents never become part of the Spec, only their paths.
//
// The package never talks to an engine and never changes a file.
package compose
