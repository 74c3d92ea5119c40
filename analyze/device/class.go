// Package device reads what the kernel knows of devices: classes and their members, PCI, resources, character and block
// majors, and the dumps that drivers leave.
package device

import (
	"errors"
	"fmt"
	"iter"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// OfClass yields the devices (struct device) of a class, in the order in which they were added. class is the symbol of a
// struct class.
func OfClass(v *kernel.View, class string) iter.Seq2[vmem.Addr, error] {
	return func(yield func(vmem.Addr, error) bool) {
		fail := func(err error) bool { return yield(0, fmt.Errorf("devices of %s: %w", class, err)) }
		private, err := subsystem(v, class)
		if err != nil {
			fail(err)
			return
		}
		head, ok1 := v.OffsetOf("subsys_private", "klist_devices.k_list")
		node, ok2 := v.OffsetOf("device_private", "knode_class.n_node")
		if !ok1 || !ok2 {
			fail(errors.New("this kernel has no list of a class's devices that kdx knows"))
			return
		}
		for p, err := range walk.List(v, private+vmem.Addr(head), node) {
			if err != nil {
				if !fail(err) {
					return
				}
				continue
			}
			dev, err := v.ObjectOf("device_private", p).Field("device").Pointer()
			if err != nil {
				if !fail(err) {
					return
				}
				continue
			}
			if !yield(dev, nil) {
				return
			}
		}
	}
}

// subsystem is the subsys_private of a class: a member of it until 6.3, since then found among those of all classes.
func subsystem(v *kernel.View, class string) (vmem.Addr, error) {
	sym, err := v.Symbol(class)
	if err != nil {
		return 0, err
	}
	if off, ok := v.OffsetOf("class", "p"); ok {
		p, err := v.Word(vmem.Addr(sym.Addr + off))
		if err == nil && p == 0 {
			err = errors.New("the class is not registered")
		}
		return vmem.Addr(p), err
	}
	set, err := v.Symbol("class_kset")
	if err != nil {
		return 0, err
	}
	list, ok1 := v.OffsetOf("kset", "list")
	entry, ok2 := v.OffsetOf("subsys_private", "subsys.kobj.entry")
	if !ok1 || !ok2 {
		return 0, errors.New("this kernel has no list of classes that kdx knows")
	}
	kset, err := v.Word(vmem.Addr(set.Addr))
	if err != nil {
		return 0, err
	}
	var last error
	for p, err := range walk.List(v, vmem.Addr(kset+list), entry) {
		if err != nil {
			last = err
			continue
		}
		c, err := v.ObjectOf("subsys_private", p).Field("class").Pointer()
		if err != nil {
			last = err
		} else if uint64(c) == sym.Addr {
			return p, nil
		}
	}
	if last != nil {
		return 0, last
	}
	return 0, errors.New("the class is not registered")
}

// Name of a struct device.
func Name(v *kernel.View, dev vmem.Addr) (string, error) {
	p, err := v.ObjectOf("device", dev).Field("kobj.name").Pointer()
	if err != nil {
		return "", err
	}
	return v.CString(p, maxName)
}

// maxName bounds names of devices and resources, in bytes.
const maxName = 256
