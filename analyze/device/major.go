package device

import (
	"cmp"
	"fmt"
	"iter"
	"slices"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// CharRegion is a range of character device numbers that a driver has taken. CDev is 0 if no device of it is there.
type CharRegion struct {
	Major, Minor, Count uint32
	Name                string
	CDev, Ops           vmem.Addr
}

// The kernel's own dev_t: 20 bits of minor.
const minorBits = 20

// maxChain bounds the entries of one hash chain of majors, of which there are 255.
const maxChain = 1 << 16

// chain yields the entries of a hash table of pointers: a global array, whose entries are linked by next.
func chain(v *kernel.View, array kernel.Value) iter.Seq2[kernel.Value, error] {
	return func(yield func(kernel.Value, error) bool) {
		if err := array.Err(); err != nil {
			yield(kernel.Value{}, err)
			return
		}
		for i := range array.Type().Strip().Len {
			seen := make(map[vmem.Addr]bool)
			for p := array.Index(i); ; {
				at, err := p.Pointer()
				if err == nil && at == 0 {
					break
				}
				if err == nil && (seen[at] || len(seen) > maxChain) {
					err = fmt.Errorf("entry %#x: %w", uint64(at), walk.ErrLoop)
				}
				if err == nil {
					err = v.Step()
				}
				if err != nil {
					if !yield(kernel.Value{}, fmt.Errorf("chain %d: %w", i, err)) {
						return
					}
					break
				}
				seen[at] = true
				x := p.Deref()
				if !yield(x, nil) {
					return
				}
				p = x.Field("next")
			}
		}
	}
}

// CharRegions are the character devices' numbers by major and minor (/proc/devices), and what could not be read.
func CharRegions(v *kernel.View) ([]CharRegion, []error) {
	var out []CharRegion
	var errs []error
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	for x, err := range chain(v, v.Global("chrdevs")) {
		if err != nil {
			add(err)
			continue
		}
		major, err1 := x.Field("major").Uint()
		minor, err2 := x.Field("baseminor").Uint()
		count, err3 := x.Field("minorct").Uint()
		name, err4 := x.Field("name").CString(maxName)
		dev, err5 := x.Field("cdev").Pointer()
		if err := cmp.Or(err1, err2, err3, err4, err5); err != nil {
			add(err)
			continue
		}
		out = append(out, CharRegion{Major: uint32(major), Minor: uint32(minor), Count: uint32(count), Name: name, CDev: dev})
	}
	slices.SortStableFunc(out, func(a, b CharRegion) int { return cmp.Or(cmp.Compare(a.Major, b.Major), cmp.Compare(a.Minor, b.Minor)) })
	probes, perr := mapped(v)
	errs = append(errs, perr...)
	for i := range out {
		r := &out[i]
		if r.CDev == 0 {
			r.CDev = firstProbe(probes, r)
		}
		if r.CDev == 0 {
			continue
		}
		var err error
		r.Ops, err = v.ObjectOf("cdev", r.CDev).Field("ops").Pointer()
		add(err)
	}
	return out, errs
}

// probe is a range of numbers for which a device was added (cdev_map).
type probe struct {
	dev  uint64
	cdev vmem.Addr
}

func mapped(v *kernel.View) ([]probe, []error) {
	var out []probe
	var errs []error
	for x, err := range chain(v, v.Global("cdev_map").Deref().Field("probes")) {
		if err != nil {
			errs = append(errs, fmt.Errorf("devices by number: %w", err))
			continue
		}
		dev, err1 := x.Field("dev").Uint()
		data, err2 := x.Field("data").Pointer()
		if err := cmp.Or(err1, err2); err != nil {
			errs = append(errs, err)
			continue
		}
		if data != 0 { // the one at the end of each chain has none
			out = append(out, probe{dev, data})
		}
	}
	return out, errs
}

// firstProbe is the device with the lowest number in a region.
func firstProbe(probes []probe, r *CharRegion) vmem.Addr {
	var best probe
	for _, p := range probes {
		major, minor := uint32(p.dev>>minorBits), uint32(p.dev&(1<<minorBits-1))
		if major == r.Major && minor >= r.Minor && uint64(minor) < uint64(r.Minor)+uint64(r.Count) && (best.cdev == 0 || p.dev < best.dev) {
			best = p
		}
	}
	return best.cdev
}

// BlockMajor is a block device number that a driver has taken.
type BlockMajor struct {
	Major uint32
	Name  string
}

// BlockMajors are the block devices' numbers (/proc/devices), and what could not be read.
func BlockMajors(v *kernel.View) ([]BlockMajor, []error) {
	var out []BlockMajor
	var errs []error
	for x, err := range chain(v, v.Global("major_names")) {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		major, err1 := x.Field("major").Uint()
		name, err2 := x.Field("name").CString(maxName)
		if err := cmp.Or(err1, err2); err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, BlockMajor{uint32(major), name})
	}
	slices.SortStableFunc(out, func(a, b BlockMajor) int { return cmp.Compare(a.Major, b.Major) })
	return out, errs
}
