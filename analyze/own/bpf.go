package own

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"sort"
	"sync"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
	"kdx/symbols"
)

// BPFImages are the programs, trampolines and dispatchers that BPF compiled to machine code, as symbols of the module
// "bpf", which is how /proc/kallsyms lists them.
type BPFImages struct {
	read func() ([]symbols.Symbol, error)
}

// NewBPFImages are the images of a kernel, read by the first question.
func NewBPFImages(k *kernel.Kernel) *BPFImages {
	return &BPFImages{sync.OnceValues(func() ([]symbols.Symbol, error) { return readBPFImages(k) })}
}

type bpfKsym struct {
	Start uint64 `k:"start"`
	End   uint64 `k:"end"`
	Name  string `k:"name"`
}

func readBPFImages(k *kernel.Kernel) ([]symbols.Symbol, error) {
	head, err := k.Symbol("bpf_kallsyms")
	if err != nil {
		return nil, err
	}
	bind, err := kernel.Bind[bpfKsym](k, "bpf_ksym") // 5.7
	if err != nil {
		return nil, err
	}
	link, ok := bind.Type().OffsetOf("lnode")
	if !ok {
		return nil, fmt.Errorf("struct bpf_ksym of this kernel has no member lnode")
	}
	v := k.View(context.Background())
	var out []symbols.Symbol
	for addr, err := range walk.List(v, vmem.Addr(head.Addr), link) {
		if err != nil {
			k.Log().Warn("BPF images", "err", err)
			continue
		}
		s, err := bind.Read(v, addr)
		if err != nil {
			k.Log().Warn("BPF images", "err", err)
			continue
		}
		if s.End > s.Start {
			out = append(out, symbols.Symbol{Name: s.Name, Addr: s.Start, Size: s.End - s.Start, Letter: 't', Module: "bpf"})
		}
	}
	slices.SortFunc(out, func(a, b symbols.Symbol) int { return cmp.Compare(a.Addr, b.Addr) })
	return out, nil
}

// Name is "bpf".
func (b *BPFImages) Name() string { return "bpf" }

// SymbolsNamed finds images by name.
func (b *BPFImages) SymbolsNamed(name string) ([]symbols.Symbol, error) {
	all, err := b.read()
	if err != nil {
		return nil, err
	}
	var out []symbols.Symbol
	for _, s := range all {
		if s.Name == name {
			out = append(out, s)
		}
	}
	if out == nil {
		return nil, symbols.ErrNotFound
	}
	return out, nil
}

// SymbolAt is the image that addr lies in.
func (b *BPFImages) SymbolAt(addr uint64) (symbols.Symbol, error) {
	all, err := b.read()
	if err != nil {
		return symbols.Symbol{}, err
	}
	i := sort.Search(len(all), func(i int) bool { return all[i].Addr+all[i].Size > addr })
	if i == len(all) || addr < all[i].Addr {
		return symbols.Symbol{}, symbols.ErrNotFound
	}
	return all[i], nil
}

// All yields the images in address order.
func (b *BPFImages) All() iter.Seq[symbols.Symbol] {
	return func(yield func(symbols.Symbol) bool) {
		all, err := b.read()
		if err != nil {
			return
		}
		for _, s := range all {
			if !yield(s) {
				return
			}
		}
	}
}
