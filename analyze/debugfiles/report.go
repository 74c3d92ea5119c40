package debugfiles

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/module"
	"kdx/dumpfmt"
	"kdx/symbols/debuginfo"
)

// Report is what was looked for, where, and what was found. Its JSON is a contract, see docs/json.md; members are null where
// nothing is known.
type Report struct {
	Release *string `json:"release"`
	Machine *string `json:"machine"`
	Banner  *string `json:"banner"`
	BuildID *string `json:"build_id"`
	// BuildIDFrom is "notes", the kernel's own in memory, or "vmcoreinfo".
	BuildIDFrom *string `json:"build_id_from"`
	// VMCoreInfoID is VMCOREINFO's BUILD-ID, and Distrusted why it is not believed.
	VMCoreInfoID *string `json:"vmcoreinfo_build_id"`
	Distrusted   *string `json:"vmcoreinfo_distrusted"`

	Kernel  Search   `json:"kernel"`
	Modules []Module `json:"modules"`
	// ModulesError is why the modules can't be listed.
	ModulesError *string          `json:"modules_error"`
	Hints        []debuginfo.Hint `json:"hints"`
	// Missing is what of the dump could not be read.
	Missing []kernel.Gap `json:"-"`
}

// Search is for one file.
type Search struct {
	Found *Found `json:"found"`
	// Looked are the places in the order in which they were looked at.
	Looked []Place `json:"looked_at"`
	// Server is why no debuginfod server gave the file; null if none was asked, or one gave it.
	Server *string `json:"server_error"`
}

// Module is a loaded module.
type Module struct {
	Name    string  `json:"name"`
	BuildID *string `json:"build_id"`
	Search
}

// Found is the best file.
type Found struct {
	Path  string `json:"path"`
	DWARF bool   `json:"debug_information"`
	By    string `json:"matches_by"` // "build-id", "banner", "release", "name"
	// Alt is the file of dwz that goes with it; null if it needs none, or AltError says why it is not there.
	Alt      *string `json:"dwz_file"`
	AltError *string `json:"dwz_error"`
}

// Place is a candidate.
type Place struct {
	Path    string  `json:"path"`
	Outcome string  `json:"outcome"`
	Why     *string `json:"why"`
}

// Complete reports whether the kernel's debug information was found.
func (r *Report) Complete() bool { return r.Kernel.Found != nil && r.Kernel.Found.DWARF }

// Find looks for the kernel's file and the modules'. k may be nil if the dump's kernel can't be opened; the machine and what
// lies beside the dump is all there is to go by then. The error is of a cancelled context.
func Find(ctx context.Context, img *dumpfmt.Image, k *kernel.Kernel, dumps []string, opt debuginfo.Options) (*Report, error) {
	opt.All = true
	r := &Report{Modules: []Module{}, Machine: known(string(img.Info().Machine))}
	want := debuginfo.Want{Machine: debuginfo.Machine(string(img.Info().Machine)), Dumps: dumps}
	if k != nil {
		var id BuildID
		want, id = Want(ctx, k, dumps)
		r.identify(want, id)
	}
	finder := debuginfo.New(want, opt)
	res, err := finder.Kernel(ctx)
	if err != nil {
		return nil, err
	}
	r.Kernel = search(res)
	if err := r.modules(ctx, k, finder); err != nil {
		return nil, err
	}
	r.Hints = []debuginfo.Hint{}
	if !r.Complete() && want.Release != "" {
		r.Hints = debuginfo.Hints(want.Release, want.Banner)
	}
	return r, nil
}

func (r *Report) identify(w debuginfo.Want, id BuildID) {
	r.Release, r.Banner = known(w.Release), known(strings.TrimSpace(w.Banner))
	r.BuildID, r.VMCoreInfoID, r.Distrusted = known(id.ID), known(id.VMCoreInfo), known(id.Why)
	switch {
	case id.FromNotes:
		r.BuildIDFrom = known("notes")
	case id.ID != "":
		r.BuildIDFrom = known("vmcoreinfo")
	}
	if id.NotesErr != nil {
		r.Missing = append(r.Missing, kernel.Gap{What: "build-id", Err: id.NotesErr})
	}
}

func known(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func search(res *debuginfo.Result) Search {
	defer res.Close()
	s := Search{Looked: []Place{}}
	for _, c := range res.Candidates {
		s.Looked = append(s.Looked, Place{c.Path, string(c.Outcome), known(c.Why)})
	}
	if res.Server != nil {
		s.Server = known(res.Server.Error())
	}
	if b := res.Best; b != nil {
		s.Found = &Found{Path: b.Path, DWARF: b.Found.DWARF, By: b.By, Alt: known(b.AltPath)}
		if b.AltErr != nil {
			s.Found.AltError = known(b.AltErr.Error())
		}
	}
	return s
}

func (r *Report) modules(ctx context.Context, k *kernel.Kernel, finder *debuginfo.Finder) error {
	if k == nil {
		return nil
	}
	v := k.View(ctx)
	mods, err := module.Read(v)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.ModulesError = known(err.Error())
		r.Missing = append(r.Missing, kernel.Gap{What: "list of modules", Err: err})
		return nil
	}
	slices.SortFunc(mods, func(a, b *module.Module) int { return cmp.Compare(a.Name, b.Name) })
	for _, m := range mods {
		id, err := module.BuildID(v, m)
		if err != nil && !errors.Is(err, module.ErrNoBuildID) {
			v.Gap("build-id", err)
		}
		res, err := finder.Module(ctx, m.Name, id)
		if err != nil {
			return err
		}
		r.Modules = append(r.Modules, Module{m.Name, known(id), search(res)})
	}
	gaps, _ := v.Gaps()
	r.Missing = append(r.Missing, gaps...)
	return nil
}
