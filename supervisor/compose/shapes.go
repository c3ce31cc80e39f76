package compose

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/format"
	"github.com/compose-spec/compose-go/v2/types"
)

// The shapes of service keys that have a form of their own.

var namePattern = regexp.MustCompile(`^[^\s=\x00]+$`)

// environment is "NAME=value" items or a mapping; without a value the one of
// the environment is taken.
func environment(r *report, p place, v *value) {
	forms{
		list: each(func(r *report, p place, v *value) {
			if !anyStr(r, p, v) {
				return
			}
			if name, _, _ := strings.Cut(v.text, "="); !namePattern.MatchString(name) {
				r.at(p, v, "no name of a variable", "NAME=value")
			}
		}),
		mapping: func(r *report, p place, v *value) {
			for _, name := range v.names {
				if field := v.fields[name]; field.kind != nullKind {
					scalarText(r, p.child(name), field)
				}
				if !namePattern.MatchString(name) {
					r.key(p.child(name), v.fields[name], "no name of a variable", "NAME: value")
				}
			}
		},
		want: "a mapping or a list of NAME=value",
	}.check(r, p, v)
}

func envFiles(r *report, p place, v *value) {
	one := forms{
		scalar: file,
		mapping: rules{
			known:   map[string]shape{"path": file, "required": boolean},
			refused: map[string]string{"format": ""},
		}.check,
		want: "a path",
	}.check
	forms{scalar: file, list: each(one), want: "a path or a list of paths"}.check(r, p, v)
}

// labels are "name=value" items or a mapping.
func labels(r *report, p place, v *value) {
	forms{
		list:    each(str),
		mapping: every(forms{scalar: scalarText, null: true, want: "a text"}.check),
		want:    "a mapping or a list of name=value",
	}.check(r, p, v)
}

func port(r *report, p place, v *value) {
	forms{
		scalar: func(r *report, p place, v *value) {
			if _, err := types.ParsePortConfig(v.text); err != nil || v.tag == "!!float" || v.tag == "!!bool" {
				r.at(p, v, v.written(), `a port such as "8080:80" or "127.0.0.1:8080:80/tcp"`)
			}
		},
		mapping: rules{
			known: map[string]shape{
				"target": integer(1, 65535), "published": published, "host_ip": address,
				"protocol": oneOf("tcp", "udp", "sctp"),
			},
			refused: map[string]string{"mode": "", "name": "", "app_protocol": ""},
		}.check,
		want: "a port",
	}.check(r, p, v)
	if v.kind == mapKind && v.get("target") == nil {
		r.path(p.child("target"), "missing", "the container's port")
	}
}

var (
	publishedPattern = regexp.MustCompile(`^[0-9]{1,5}(-[0-9]{1,5})?$`)
	exposePattern    = regexp.MustCompile(`^[0-9]{1,5}(-[0-9]{1,5})?(/(tcp|udp|sctp))?$`)
)

// validRange says whether "80" or "8000-8010" are ports.
func validRange(text string) bool {
	first, last, isRange := strings.Cut(text, "-")
	from, err := strconv.Atoi(first)
	if err != nil || from < 1 || from > 65535 {
		return false
	}
	if !isRange {
		return true
	}
	to, err := strconv.Atoi(last)
	return err == nil && to >= from && to <= 65535
}

func published(r *report, p place, v *value) {
	if v.kind != scalarKind || !publishedPattern.MatchString(v.text) || !validRange(v.text) {
		r.wrongKind(p, v, "a port or a range of ports")
	}
}

func expose(r *report, p place, v *value) {
	number, _, _ := strings.Cut(v.text, "/")
	if v.kind != scalarKind || !exposePattern.MatchString(v.text) || !validRange(number) {
		r.wrongKind(p, v, "a port such as 4000 or 4000/udp")
	}
}

func mount(r *report, p place, v *value) {
	forms{
		scalar: shortMount,
		mapping: rules{
			known: map[string]shape{
				"type": oneOf("volume", "bind", "tmpfs"), "source": str, "target": target, "read_only": boolean,
				"bind": rules{
					known: map[string]shape{
						"propagation": oneOf("private", "rprivate", "shared", "rshared", "slave", "rslave"), "create_host_path": neverTrue,
					},
					refused: map[string]string{"selinux": "", "recursive": ""},
				}.check,
				"volume": rules{
					known:   map[string]shape{"nocopy": boolean},
					refused: map[string]string{"subpath": "", "labels": "use the labels of the volume"},
				}.check,
				"tmpfs": rules{known: map[string]shape{
					"size": forms{scalar: tmpfsSize, want: "a size"}.check, "mode": integer(0, 0o7777),
				}}.check,
			},
			refused: map[string]string{"consistency": "", "image": ""},
		}.check,
		want: "a mount such as data:/var/lib/data",
	}.check(r, p, v)
	if v.kind == mapKind {
		longMount(r, p, v)
	}
}

func tmpfsSize(r *report, p place, v *value) { readSize(r, p, v) }

func neverTrue(r *report, p place, v *value) {
	if readBool(r, p, v) {
		r.at(p, v, "true is not supported", "false; make the directory on the host")
	}
}

var drivePattern = regexp.MustCompile(`^[A-Za-z]:[/\\\\]`)

func shortMount(r *report, p place, v *value) {
	if !anyStr(r, p, v) {
		return
	}
	m, err := format.ParseVolume(v.text)
	switch {
	case drivePattern.MatchString(v.text):
		r.at(p, v, v.written()+" reads as a drive of Windows", "a volume with a longer name")
	case err != nil || m.Type == types.VolumeTypeNamedPipe:
		r.at(p, v, v.written(), "SOURCE:/TARGET or SOURCE:/TARGET:ro")
	case !strings.HasPrefix(m.Target, "/"):
		r.at(p, v, v.written()+": the target is not absolute", "SOURCE:/TARGET")
	case m.Bind != nil && m.Bind.SELinux != "":
		r.at(p, v, v.written()+": SELinux labels (z, Z) are not supported", "")
	case unknownOption(v.text):
		r.at(p, v, v.written()+": unknown option", "ro, rw, nocopy or a propagation mode")
	default:
		noHome(r, p, v, m.Source)
	}
}

// unknownOption finds options of a short mount that compose-go would ignore.
func unknownOption(text string) bool {
	parts := strings.Split(text, ":")
	if len(parts) < 3 {
		return false
	}
	known := []string{"ro", "rw", "nocopy", "private", "rprivate", "shared", "rshared", "slave", "rslave"}
	for _, option := range strings.Split(parts[len(parts)-1], ",") {
		if !slices.Contains(known, option) {
			return true
		}
	}
	return false
}

// longMount checks what the parts of a long mount say together.
func longMount(r *report, p place, v *value) {
	for _, name := range []string{"type", "target"} {
		if v.get(name) == nil {
			r.path(p.child(name), "missing", "type and target")
		}
	}
	kind, source := v.get("type"), v.get("source")
	if kind == nil || r.isBad(p.child("type")) {
		return
	}
	for _, other := range []string{"bind", "volume", "tmpfs"} {
		if field := v.get(other); field != nil && kind.text != other {
			r.key(p.child(other), field, "has no effect on a mount of type "+kind.text, "")
		}
	}
	switch {
	case kind.text == "bind" && source == nil:
		r.path(p.child("source"), "missing", "the path on the host")
	case kind.text == "bind":
		noHome(r, p.child("source"), source, source.text)
	case kind.text == "tmpfs" && source != nil:
		r.key(p.child("source"), source, "has no effect on a mount of type tmpfs", "")
	}
}

func tmpfs(r *report, p place, v *value) {
	if !anyStr(r, p, v) {
		return
	}
	if !strings.HasPrefix(v.text, "/") {
		r.at(p, v, v.written(), "an absolute path, with options after a colon: /tmp:size=64m")
	}
}

var signalPattern = regexp.MustCompile(`^(SIG)?[A-Z][A-Z0-9+-]*$|^[0-9]{1,2}$`)

func signal(r *report, p place, v *value) {
	if v.kind != scalarKind || !signalPattern.MatchString(v.text) {
		r.wrongKind(p, v, "a signal such as SIGTERM")
	}
}

func restart(r *report, p place, v *value) {
	const want = "unless-stopped or always, or no restart key"
	switch {
	case v.kind != scalarKind:
		r.wrongKind(p, v, want)
	case v.text == "always" || v.text == "unless-stopped":
	default:
		r.at(p, v, v.written()+": supervisord replaces every instance that ends", want)
	}
}

func serviceNetworks(r *report, p place, v *value) {
	one := forms{
		mapping: rules{
			known: map[string]shape{"aliases": each(str)},
			refused: map[string]string{
				"ipv4_address": "addresses differ between instances", "ipv6_address": "addresses differ between instances",
				"driver_opts": "", "gw_priority": "", "interface_name": "", "link_local_ips": "",
				"mac_address": "", "priority": "", "use_service_name_alias": "",
			},
		}.check,
		null: true, want: "aliases",
	}.check
	forms{list: each(str), mapping: every(one), want: "a list of networks"}.check(r, p, v)
}

func healthTest(r *report, p place, v *value) {
	forms{
		scalar: str,
		list: func(r *report, p place, v *value) {
			each(text)(r, p, v)
			const want = `a list that begins with "CMD", "CMD-SHELL" or "NONE"`
			if len(v.items) == 0 {
				r.at(p, v, "an empty list is given", want)
				return
			}
			first := v.items[0].text
			switch n := len(v.items); {
			case first == "NONE" && n == 1, first == "CMD" && n > 1, first == "CMD-SHELL" && n == 2:
			default:
				r.at(p.child("[0]"), v.items[0], v.items[0].written(), want+" and its arguments")
			}
		},
		want: "a command",
	}.check(r, p, v)
}

func extraHosts(r *report, p place, v *value) {
	const want = "name:address"
	forms{
		list: each(func(r *report, p place, v *value) {
			if !anyStr(r, p, v) {
				return
			}
			if _, err := types.NewHostsList([]string{v.text}); err != nil {
				r.at(p, v, v.written(), want)
			}
		}),
		mapping: every(forms{scalar: str, list: each(str), want: "an address"}.check),
		want:    "a list of " + want,
	}.check(r, p, v)
}

func dependsOn(r *report, p place, v *value) {
	one := rules{
		known: map[string]shape{"condition": condition, "required": alwaysTrue},
		refused: map[string]string{
			"restart": "dependents are not restarted",
		},
	}.check
	forms{list: each(str), mapping: every(one), want: "a list of services"}.check(r, p, v)
}

func alwaysTrue(r *report, p place, v *value) {
	if !readBool(r, p, v) && !r.isBad(p) {
		r.at(p, v, "false is not supported: every service of this file runs", "true")
	}
}

func condition(r *report, p place, v *value) {
	if v.kind == scalarKind && v.text == types.ServiceConditionCompletedSuccessfully {
		r.at(p, v, v.written()+": services that end are not supported", "service_started or service_healthy")
		return
	}
	oneOf(types.ServiceConditionStarted, types.ServiceConditionHealthy)(r, p, v)
}

// reference is a secret or config that a service uses.
func reference(r *report, p place, v *value) {
	owner := "the file keeps its owner and mode of the host"
	forms{
		scalar: str,
		mapping: rules{
			known:   map[string]shape{"source": str, "target": str},
			refused: map[string]string{"uid": owner, "gid": owner, "mode": owner},
		}.check,
		want: "a name",
	}.check(r, p, v)
	if v.kind == mapKind && v.get("source") == nil {
		r.path(p.child("source"), "missing", "a name")
	}
}
