package compose

import (
	"math"
	"regexp"
)

// topRules are the keys of the file.
func topRules() rules {
	return rules{
		known: map[string]shape{
			"name":         str,
			"version":      anything,
			"services":     services,
			"networks":     every(network),
			"volumes":      every(volume),
			"secrets":      every(fileObject),
			"configs":      every(fileObject),
			"x-supervisor": anything, // readSupervisor checks it
		},
		refused: map[string]string{
			"include": "one file holds the whole configuration",
			"models":  "",
			"jobs":    "",
		},
	}
}

var servicePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?$`)

// services checks the names, too: they become names of containers, files,
// upstreams and metrics.
func services(r *report, p place, v *value) {
	if !is(r, p, v, mapKind) {
		return
	}
	check := serviceRules().check
	for _, name := range v.names {
		at, service := p.child(name), v.fields[name]
		if !servicePattern.MatchString(name) {
			r.key(at, service, "service name "+quote(name),
				"at most 50 lower-case letters, digits and inner hyphens")
			continue
		}
		check(r, at, service)
	}
}

func serviceRules() rules {
	return rules{known: serviceKeys(), refused: refusedServiceKeys()}
}

func serviceKeys() map[string]shape {
	words := forms{scalar: text, list: each(text), null: true, want: "a command line or a list of words"}
	return map[string]shape{
		"image":             str,
		"build":             anything, // only next to image; see checkBuild
		"command":           words.check,
		"entrypoint":        words.check,
		"environment":       environment,
		"env_file":          envFiles,
		"ports":             each(port),
		"expose":            each(expose),
		"volumes":           each(mount),
		"networks":          serviceNetworks,
		"network_mode":      oneOf("host", "none"),
		"healthcheck":       healthcheckRules().check,
		"user":              str,
		"working_dir":       target,
		"read_only":         boolean,
		"tmpfs":             forms{scalar: tmpfs, list: each(tmpfs), want: "a path or a list of paths"}.check,
		"cap_add":           each(str),
		"cap_drop":          each(str),
		"security_opt":      each(str),
		"ulimits":           every(ulimit),
		"stop_signal":       signal,
		"stop_grace_period": duration,
		"restart":           restart,
		"labels":            labels,
		"logging":           rules{known: map[string]shape{"driver": str, "options": every(scalarText)}}.check,
		"extra_hosts":       extraHosts,
		"init":              boolean,
		"pids_limit":        integer(1, mostPids),
		"depends_on":        dependsOn,
		"secrets":           each(reference),
		"configs":           each(reference),
		"deploy":            deployRules().check,
		"extends":           extends,
		"x-autoscale":       anything, // readAutoscale,
		"x-ingress":         anything, // readIngress,
		"x-database":        anything, // readDatabase and
		"x-deploy":          anything, // readDeploy check these
		"x-backup":          anything, // readBackup
	}
}

// refusedServiceKeys are the keys of docker compose that have no effect here.
func refusedServiceKeys() map[string]string {
	hints := map[string]string{
		"container_name":  "supervisord names containers itself, SERVICE-1, SERVICE-2 and so on",
		"scale":           "use deploy.replicas",
		"cpus":            "use deploy.resources.limits.cpus",
		"mem_limit":       "use deploy.resources.limits.memory",
		"mem_reservation": "use deploy.resources.reservations.memory",
		"profiles":        "every service of this file runs",
		"links":           "services reach each other by name on a network they share",
		"external_links":  "use a network with external: true",
		"shm_size":        "use tmpfs: /dev/shm:size=256m",
		"label_file":      "use labels",
		"log_driver":      "use logging.driver",
		"log_opt":         "use logging.options",
		"net":             "use networks or network_mode",
		"dockerfile":      "use image",
		"privileged":      "name the capabilities that are needed in cap_add",
	}
	for _, name := range []string{
		"annotations", "attach", "blkio_config", "cgroup", "cgroup_parent", "cpu_count", "cpu_percent",
		"cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "cpuset",
		"credential_spec", "develop", "device_cgroup_rules", "devices", "dns", "dns_opt", "dns_search",
		"domainname", "gpus", "group_add", "hostname", "ipc", "isolation", "mac_address",
		"mem_swappiness", "memswap_limit", "models", "oom_kill_disable", "oom_score_adj", "pid",
		"platform", "post_start", "pre_start", "pre_stop", "provider", "pull_policy",
		"pull_refresh_after", "runtime", "stdin_open", "storage_opt", "sysctls", "tty", "umask",
		"use_api_socket", "userns_mode", "uts", "volume_driver", "volumes_from",
	} {
		hints[name] = ""
	}
	return hints
}

func healthcheckRules() rules {
	return rules{
		known: map[string]shape{
			"test":         healthTest,
			"interval":     duration,
			"timeout":      duration,
			"retries":      integer(1, 1000),
			"start_period": duration,
			"disable":      boolean,
		},
		refused: map[string]string{"start_interval": "needs a newer engine than 20.10; interval counts from the start"},
	}
}

// leastMemory is the smallest limit that the engine takes.
const leastMemory = 6 << 20

// mostPids is the most that the kernel can count.
const mostPids = 4 << 20

func deployRules() rules {
	limits := rules{known: map[string]shape{
		"cpus": cores, "memory": size(leastMemory), "pids": integer(1, mostPids),
	}}
	reservations := rules{
		known:   map[string]shape{"cpus": cores, "memory": size(1)},
		refused: map[string]string{"devices": "", "generic_resources": "", "pids": "use limits.pids"},
	}
	return rules{
		known: map[string]shape{
			"replicas":      integer(0, mostInstances),
			"placement":     placementRules().check,
			"update_config": updateRules().check,
			"resources":     rules{known: map[string]shape{"limits": limits.check, "reservations": reservations.check}}.check,
		},
		refused: map[string]string{
			"mode": "", "labels": "use the service's labels", "rollback_config": "the way back is made as update_config says",
			"restart_policy": "an instance that ends is always replaced", "endpoint_mode": "",
		},
	}
}

func network(r *report, p place, v *value) {
	topName(r, p, v)
	if v.kind == nullKind {
		return
	}
	rules{
		known: map[string]shape{
			"name": str, "external": boolean, "internal": boolean, "driver": str,
			"driver_opts": every(scalarText), "labels": labels,
		},
		refused: map[string]string{
			"ipam": "the engine chooses addresses", "attachable": "", "enable_ipv4": "", "enable_ipv6": "",
		},
	}.check(r, p, v)
	aloneIfExternal(r, p, v)
}

func volume(r *report, p place, v *value) {
	topName(r, p, v)
	if v.kind == nullKind {
		return
	}
	rules{known: map[string]shape{
		"name": str, "external": boolean, "driver": str, "driver_opts": every(scalarText), "labels": labels,
	}}.check(r, p, v)
	aloneIfExternal(r, p, v)
}

// aloneIfExternal refuses settings of what is made by someone else.
func aloneIfExternal(r *report, p place, v *value) {
	if ext := v.get("external"); ext == nil || ext.text != "true" {
		return
	}
	for _, name := range []string{"internal", "driver", "driver_opts", "labels"} {
		if field := v.get(name); field != nil {
			r.key(p.child(name), field, "has no effect on what is external", "")
		}
	}
}

// fileObject is a secret or a config of the top level.
func fileObject(r *report, p place, v *value) {
	topName(r, p, v)
	rules{
		known: map[string]shape{"file": file},
		refused: map[string]string{
			"environment": "use file; a value here would be copied into the cluster's state",
			"content":     "use file",
			"external":    "use file",
			"name":        "", "labels": "", "driver": "", "driver_opts": "", "template_driver": "",
		},
	}.check(r, p, v)
	if v.kind == mapKind && v.get("file") == nil {
		r.path(p.child("file"), "missing", "the path of a file")
	}
}

var topNamePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$`)

func topName(r *report, p place, v *value) {
	if name := p[len(p)-1]; !topNamePattern.MatchString(name) {
		r.key(p, v, "name "+quote(name), "letters, digits, dots, hyphens and underscores")
	}
}

func extends(r *report, p place, v *value) {
	forms{
		scalar: str,
		mapping: rules{
			known:   map[string]shape{"service": str},
			refused: map[string]string{"file": "one file holds the whole configuration"},
		}.check,
		want: "the name of a service",
	}.check(r, p, v)
}

func ulimit(r *report, p place, v *value) {
	n := integer(-1, math.MaxInt64)
	forms{
		scalar:  n,
		mapping: rules{known: map[string]shape{"soft": n, "hard": n}}.check,
		want:    "a number, or soft and hard",
	}.check(r, p, v)
	if v.kind != mapKind || r.isBad(p) {
		return
	}
	for _, name := range []string{"soft", "hard"} {
		if v.get(name) == nil {
			r.path(p.child(name), "missing", "both soft and hard")
		}
	}
}
