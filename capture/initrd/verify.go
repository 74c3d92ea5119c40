package initrd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"kdx/capture/plan"
)

// Verdict is what is right and wrong with a capture initrd.
type Verdict struct {
	Path    string `json:"path"`
	Release string `json:"release"`
	Kdx     string `json:"kdx"`
	// Problems are what makes it useless: damage, something missing, another kernel.
	Problems []string `json:"problems"`
	// Changes are what changed on the host since it was built; kdx capture initrd build builds it anew then.
	Changes []string `json:"changes"`
	// Files is how many were checked by their sums.
	Files int `json:"files"`
}

// Good says that nothing is wrong.
func (v *Verdict) Good() bool { return len(v.Problems) == 0 && len(v.Changes) == 0 }

// Verify checks a capture initrd: everything that its plan needs is in it and as the manifest says, it is for the capture kernel (kernel is its
// image; "" for the one that it was built for), and what it was built from is as it was.
func Verify(ctx context.Context, path, kernel string, opt Options) (*Verdict, error) {
	c, err := Show(ctx, path)
	if err != nil {
		return nil, err
	}
	v := &Verdict{Path: path, Problems: []string{}, Changes: []string{}}
	if c.Manifest == nil || c.Plan == nil {
		what := "it has no manifest of kdx"
		if c.Maker != "" && c.Maker != "kdx" {
			what += " (" + c.Maker + " made it)"
		}
		if c.Manifest != nil {
			what = "it has no plan for kdx-init"
		}
		if c.Damaged != "" {
			what += "; " + c.Damaged
		}
		v.Problems = append(v.Problems, what)
		return v, nil
	}
	m := c.Manifest
	v.Release, v.Kdx, v.Files = m.Release, m.Kdx, len(m.Files)
	v.Problems = append(v.Problems, c.damage()...)
	v.Problems = append(v.Problems, c.lacks()...)
	v.kernel(m, kernel)
	b, err := newBuilder(ctx, m.Spec, opt)
	var fresh *Manifest
	if err == nil {
		b.old = c
		fresh, err = b.gather()
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		v.Changes = append(v.Changes, c.Manifest.changedInputs(inputsNow(m))...)
		// What is there may still save a dump: what is known to be wrong with it stands among the problems.
		v.Changes = append(v.Changes, "it could not be built anew: "+err.Error())
	default:
		v.Changes = append(v.Changes, c.changes(fresh, &b.plan)...)
	}
	return v, nil
}

// kernel checks that the initrd is for the kernel in an image.
func (v *Verdict) kernel(m *Manifest, image string) {
	if image == "" {
		for _, in := range m.Inputs {
			if in.What == "kernel" {
				image = in.Path
			}
		}
	}
	release, err := releaseOf(image)
	switch {
	case err != nil:
		v.Problems = append(v.Problems, err.Error())
	case release != m.Release:
		v.Problems = append(v.Problems, fmt.Sprintf("it is for kernel %s, and %s is %s", m.Release, image, release))
	}
}

// lacks lists what the plan needs and the initrd does not have.
func (c *Contents) lacks() []string {
	p := c.Plan
	want := map[string]string{"/init": "nothing would run", plan.Path: "init would not know what to do"}
	for _, m := range p.Modules {
		want[m.Path] = "module " + m.Name
	}
	if p.Types != "" {
		want[p.Types] = "types of the running kernel"
	}
	if p.NeedsNetwork() {
		want[p.Config.SSHKey], want[p.Config.KnownHosts] = "key of targets over SSH", "known keys of their hosts"
	}
	if p.Config.EraseConfig != "" {
		want[p.Config.EraseConfig] = "what must not be in a dump"
	}
	for _, h := range slices.Concat(p.Config.PreHooks, p.Config.PostHooks) {
		want[strings.Fields(h)[0]] = "hook"
	}
	var out []string
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if c.sums[path] == "" {
			out = append(out, fmt.Sprintf("%s is missing in it: %s", path, want[path]))
		}
	}
	if p.Release != c.Manifest.Release {
		out = append(out, fmt.Sprintf("its plan is for kernel %s, its manifest for %s", p.Release, c.Manifest.Release))
	}
	return out
}

// inputsNow reads the inputs of a manifest as they are today. Those that can't be read are not among them.
func inputsNow(m *Manifest) []Input {
	var out []Input
	for _, in := range m.Inputs {
		if now, err := inputOf(in.What, in.Path); err == nil {
			out = append(out, now)
		}
	}
	return out
}

// changes says what differs between an initrd and what would be built now.
func (c *Contents) changes(m *Manifest, p *plan.Plan) []string {
	old := c.Manifest
	out := old.changedInputs(m.Inputs)
	if a, b := old.Spec, m.Spec; !sameJSON(a, b) {
		out = append(out, "it was asked for in other words")
	}
	if old.Kdx != m.Kdx {
		out = append(out, fmt.Sprintf("kdx %s built it, this is %s", old.Kdx, m.Kdx))
	}
	if old.Packing != m.Packing {
		out = append(out, fmt.Sprintf("it is packed with %s, which would be %s now", old.Packing, m.Packing))
	}
	if c.Plan != nil {
		out = append(out, planChanges(c.Plan, p)...)
	}
	if len(out) == 0 && !slices.Equal(old.Files, m.Files) {
		out = append(out, changedFiles(old.Files, m.Files))
	}
	return out
}

// changedFiles names the first file that differs; for lists of files that do.
func changedFiles(old, now []Held) string {
	was := map[string]Held{}
	for _, f := range old {
		was[f.Path] = f
	}
	for _, f := range now {
		if was[f.Path] != f {
			return f.Path + " in it would differ"
		}
		delete(was, f.Path)
	}
	for _, path := range slices.Sorted(maps.Keys(was)) {
		return path + " would not be in it"
	}
	return "its files would stand in another order"
}

// changedInputs compares files of the host.
func (m *Manifest) changedInputs(now []Input) []string {
	left := map[string]Input{}
	for _, in := range now {
		left[in.Path] = in
	}
	var out []string
	for _, in := range m.Inputs {
		n, ok := left[in.Path]
		delete(left, in.Path)
		switch {
		case !ok && missing(in.Path):
			out = append(out, fmt.Sprintf("%s is gone (%s)", in.Path, in.What))
		case !ok:
			out = append(out, fmt.Sprintf("%s is not needed any more (%s)", in.Path, in.What))
		case n.SHA256 != in.SHA256:
			out = append(out, fmt.Sprintf("%s changed (%s)", in.Path, in.What))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(left)) {
		out = append(out, fmt.Sprintf("%s is new (%s)", path, left[path].What))
	}
	return out
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return err != nil
}

func sameJSON(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

// planParts are the parts of a plan in words.
var planParts = map[string]string{
	"host": "the host's name", "build_id": "the running kernel", "config": "the configuration", "modules": "the modules that are needed",
	"targets": "what the targets stand on", "links": "the way to the targets", "types": "the types of the running kernel",
}

// planChanges names the parts of a plan that differ.
func planChanges(old, now *plan.Plan) []string {
	parts := func(p *plan.Plan) map[string]json.RawMessage {
		m := map[string]json.RawMessage{}
		if b, err := json.Marshal(p); err == nil {
			if json.Unmarshal(b, &m) != nil {
				return nil
			}
		}
		return m
	}
	a, b := parts(old), parts(now)
	var out []string
	for _, key := range slices.Sorted(maps.Keys(planParts)) {
		if !bytes.Equal(a[key], b[key]) {
			out = append(out, planParts[key]+" changed")
		}
	}
	return out
}
