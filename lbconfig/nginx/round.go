package nginx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/supervisord/supervisord/lbconfig"
)

// round is one call of Apply.
type round struct {
	*Applier
	cfg lbconfig.Config
	// live is what current points to, serving the generation that nginx
	// answered with, 0 for none. They differ after a kill between swapping
	// and reloading, and where nginx is not running.
	live    tree
	serving uint64
	// want is what shall be live. plain is its common file as it would be
	// with live's number, to compare.
	want     tree
	plain    []byte
	services map[string]string // by file name
	rejected map[string]string

	answered, settled time.Time
}

// begin looks around: what is left over, what is live, what is wanted.
func (a *Applier) begin(ctx context.Context, cfg lbconfig.Config) (*round, error) {
	r := &round{Applier: a, cfg: cfg, services: map[string]string{}, rejected: map[string]string{}}
	if err := a.main.removeCopy(); err != nil {
		return nil, err
	}
	live, err := a.store.current()
	if err != nil {
		return nil, err
	}
	r.live = live
	if n, err := a.generation(ctx); err == nil {
		r.serving = n
	} else {
		// It may be another one that comes.
		a.version = version{}
	}
	a.learn(ctx)
	r.cfg.KeepIdle = a.keepsIdle()
	if err := a.store.clean(live.number, r.serving); err != nil {
		return nil, err
	}
	return r, r.render()
}

// render fills want. A site that is wrong in the model already keeps its live
// file.
func (r *round) render() error {
	cfg := r.cfg
	cfg.Sites = nil
	for _, f := range lbconfig.FieldErrors(r.cfg.Validate()) {
		if f.Service == "" {
			return f
		}
		r.reject(f.Service, f.Field+": "+f.Problem)
	}
	for _, s := range r.cfg.Sites {
		if _, wrong := r.rejected[s.Service]; !wrong {
			cfg.Sites = append(cfg.Sites, s)
		}
	}
	// The least number that is above all that may be answered with now.
	cfg.Generation = max(r.cfg.Generation, r.live.number+1, r.serving+1)
	files, err := lbconfig.Render(cfg)
	if err != nil {
		return err
	}
	r.want = tree{number: cfg.Generation, files: map[string][]byte{}}
	for _, f := range files {
		r.want.files[f.Name] = f.Data
		r.services[f.Name] = f.Service
	}
	for service := range r.rejected {
		name := lbconfig.SiteFile(service)
		if last, ok := r.live.files[name]; ok {
			r.want.files[name] = last
		}
	}
	cfg.Generation, cfg.Sites = r.live.number, nil
	common, err := lbconfig.Render(cfg)
	if err != nil {
		return err
	}
	r.plain = common[0].Data
	return nil
}

func (r *round) reject(service, reason string) {
	if before, ok := r.rejected[service]; ok {
		reason = before + "; " + reason
	}
	r.rejected[service] = reason
	r.log.Warn("a site keeps its last good configuration", "service", service, "reason", reason)
}

// differs says whether want has other files than live, the generation's number
// aside.
func (r *round) differs() bool {
	want := maps.Clone(r.want.files)
	want[lbconfig.CommonFile] = r.plain
	return !maps.EqualFunc(want, r.live.files, bytes.Equal)
}

// run is the way from what is wanted to what is in force.
func (r *round) run(ctx context.Context) (lbconfig.Outcome, error) {
	if !r.differs() {
		return r.confirm(ctx)
	}
	if err := r.prepare(ctx); err != nil {
		return r.unchanged(), errors.Join(err, r.store.clean(r.live.number, r.serving))
	}
	// Asked anew: without the sites that nginx refuses, nothing may be left.
	if !r.differs() {
		if err := r.store.clean(r.live.number, r.serving); err != nil {
			return r.unchanged(), err
		}
		return r.confirm(ctx)
	}
	r.step("swapping", r.want.number)
	if err := r.store.point(r.want.number); err != nil {
		return r.unchanged(), err
	}
	return r.reload(ctx, r.want.number)
}

// unchanged is the outcome where nginx serves what it served before.
func (r *round) unchanged() lbconfig.Outcome { return lbconfig.Outcome{Generation: r.serving} }

// prepare stages want, has nginx test it and makes it durable, the last two at
// once as both only read. Sites that nginx refuses are taken back from want.
func (r *round) prepare(ctx context.Context) error {
	r.step("staging", r.want.number)
	if err := r.store.stage(r.want, r.live); err != nil {
		return err
	}
	var g errgroup.Group
	var refused error
	g.Go(func() error { return r.store.sync(r.want, r.live) })
	g.Go(func() error {
		refused = r.test(ctx, r.want.number)
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if refused == nil {
		return nil
	}
	if err := r.salvage(ctx, refused); err != nil {
		return err
	}
	return r.store.sync(r.want, r.live)
}

// test has nginx read a generation as if it were live.
func (r *round) test(ctx context.Context, n uint64) error {
	r.step("testing", n)
	dir := r.store.dir(n)
	if err := r.main.writeCopy(dir); err != nil {
		return err
	}
	r.step("copied the main file", n)
	err := r.process.Test(ctx, r.main.copyFile())
	var refused *ConfigError
	if errors.As(err, &refused) {
		// It may be an older nginx than the one that was asked for its version.
		r.version = version{}
		// The places that nginx names are gone by the time one reads of them.
		names := strings.NewReplacer(dir+"/", "", r.main.copyFile(), r.main.file)
		err = &ConfigError{Reason: names.Replace(refused.Reason)}
	}
	return errors.Join(err, r.main.removeCopy())
}

// salvage finds the sites that nginx refuses, given that it refuses want: it
// starts from what was good before and adds one changed site after the other,
// so that what is left has been tested as a whole.
func (r *round) salvage(ctx context.Context, cause error) error {
	var refused *ConfigError
	if !errors.As(cause, &refused) {
		return cause
	}
	wanted := map[string][]byte{}
	for name, data := range r.want.files {
		last, was := r.live.files[name]
		if name == lbconfig.CommonFile || was && bytes.Equal(last, data) {
			continue
		}
		wanted[name] = data
		if err := r.set(name, last); err != nil {
			return err
		}
	}
	if err := r.test(ctx, r.want.number); err != nil {
		// None of the new sites is to blame.
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if err := r.set(name, wanted[name]); err != nil {
			return err
		}
		err := r.test(ctx, r.want.number)
		if errors.As(err, &refused) {
			r.reject(r.services[name], refused.Reason)
			err = r.set(name, r.live.files[name])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// set changes one file of want, in memory and on disk; nil takes it out.
func (r *round) set(name string, data []byte) error {
	delete(r.want.files, name)
	if data != nil {
		r.want.files[name] = data
	}
	return r.store.put(r.want.number, name, data, r.live)
}

// step tells where a round is, for those who look into one that hangs.
func (r *round) step(name string, generation uint64) {
	r.log.Debug("configuring nginx", "step", name, "generation", generation)
}

// generation asks nginx, for a second at the most.
func (a *Applier) generation(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	n, err := a.process.Generation(ctx)
	if err != nil {
		return 0, fmt.Errorf("looking at what nginx serves: %w", err)
	}
	return n, nil
}
