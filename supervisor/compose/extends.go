package compose

// applyExtends completes services from those they extend, so that our own keys
// and the places of all keys are known. Docker compose's loader does the same
// for its keys by its own rules, from the tree as it was.
func (r *report) applyExtends() {
	all := r.root.get("services")
	if all == nil || all.kind != mapKind {
		return
	}
	done := map[string]*value{}
	for _, name := range all.names {
		r.extended(all, name, done, map[string]bool{})
	}
	out := *all
	out.fields = done
	root := *r.root
	root.fields = make(map[string]*value, len(r.root.fields))
	for _, name := range root.names {
		root.fields[name] = r.root.fields[name]
	}
	root.fields["services"] = &out
	r.root = &root
}

// extended is the complete value of a service.
func (r *report) extended(all *value, name string, done map[string]*value, active map[string]bool) *value {
	if v, ok := done[name]; ok {
		return v
	}
	active[name] = true
	defer delete(active, name)
	v := all.get(name)
	p := place{"services", name, "extends"}
	ext := v.get("extends")
	if ext == nil || r.isBad(p) {
		done[name] = v
		return v
	}
	base := ext
	if ext.kind == mapKind {
		base = ext.get("service")
	}
	switch {
	case base == nil:
		r.key(p, ext, "service is missing", "the name of a service")
	case all.get(base.text) == nil:
		r.at(p, base, "there is no service "+quote(base.text), "")
	case active[base.text]:
		r.at(p, base, "services extend each other in a circle", "")
	default:
		v = merged(r.extended(all, base.text, done, active), v, true)
	}
	done[name] = v
	return v
}
