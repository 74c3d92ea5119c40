package net

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	stdnet "net"
	"net/netip"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// Device is a network device.
type Device struct {
	Addr      vmem.Addr // struct net_device
	Name      string
	Index     int
	Flags     uint32 // IFF_UP…, as SIOCGIFFLAGS gives the lower ones
	MTU       uint32 // bytes
	Type      uint16 // ARPHRD_…
	HW        []byte // its own hardware address; nil where it has none
	Namespace vmem.Addr
	Addrs     []netip.Prefix // IPv4's first, in the kernel's order
}

type netDevice struct {
	Name    string    `k:"name"`
	Index   int32     `k:"ifindex"`
	Flags   uint32    `k:"flags"`
	MTU     uint32    `k:"mtu"`
	Type    uint16    `k:"type"`
	AddrLen uint8     `k:"addr_len"`
	HW      vmem.Addr `k:"dev_addr"`
	Net     vmem.Addr `k:"nd_net.net,optional"` // 4.1; without CONFIG_NET_NS there is none
	IPv4    vmem.Addr `k:"ip_ptr,optional"`
	IPv6    vmem.Addr `k:"ip6_ptr,optional"`
}

// maxHW is MAX_ADDR_LEN, the longest hardware address in bytes.
const maxHW = 32

// Namespace of the task whose task_struct lies at addr; 0 for a task that has none any more.
func Namespace(v *kernel.View, task vmem.Addr) (vmem.Addr, error) {
	ns, err := v.ObjectOf("task_struct", task).Field("nsproxy").Pointer()
	if err != nil || ns == 0 {
		return 0, err
	}
	return v.ObjectOf("nsproxy", ns).Field("net_ns").Pointer()
}

// Initial is the first network namespace.
func Initial(v *kernel.View) (vmem.Addr, error) {
	s, err := v.Symbol("init_net")
	if err != nil {
		return 0, fmt.Errorf("init_net: %w", err)
	}
	return vmem.Addr(s.Addr), nil
}

// Devices yields the devices of a namespace (struct net), in the order in which they were registered. An error comes with
// what is known of the device, or with nil if it is about the list.
func Devices(v *kernel.View, ns vmem.Addr) iter.Seq2[*Device, error] {
	return func(yield func(*Device, error) bool) {
		bind, err := kernel.Bind[netDevice](v.Kernel, "net_device")
		if err != nil {
			yield(nil, err)
			return
		}
		var head, link uint64
		err = errors.Join(offsets(v, "net", map[string]*uint64{"dev_base_head": &head}), offsets(v, "net_device", map[string]*uint64{"dev_list": &link}))
		if err != nil {
			yield(nil, err)
			return
		}
		for at, err := range walk.List(v, ns+vmem.Addr(head), link) {
			if err != nil {
				if !yield(nil, fmt.Errorf("devices of the namespace at %#x: %w", uint64(ns), err)) {
					return
				}
				continue
			}
			d, err := readDevice(v, bind, at)
			if !yield(d, err) {
				return
			}
		}
	}
}

func readDevice(v *kernel.View, bind kernel.Binding[netDevice], at vmem.Addr) (*Device, error) {
	d := &Device{Addr: at}
	n, err := bind.Read(v, at)
	if err != nil {
		return d, err
	}
	d.Name, d.Index, d.Flags, d.MTU, d.Type, d.Namespace = n.Name, int(n.Index), n.Flags, n.MTU, n.Type, n.Net
	var errs []error
	if n.AddrLen > 0 && n.AddrLen <= maxHW && n.HW != 0 {
		d.HW = make([]byte, n.AddrLen)
		if err := v.Read(d.HW, n.HW); err != nil {
			d.HW = nil
			errs = append(errs, fmt.Errorf("hardware address: %w", err))
		}
	}
	v4, err := ipv4Addrs(v, n.IPv4)
	if err != nil {
		errs = append(errs, fmt.Errorf("IPv4 addresses: %w", err))
	}
	v6, err := ipv6Addrs(v, n.IPv6)
	if err != nil {
		errs = append(errs, fmt.Errorf("IPv6 addresses: %w", err))
	}
	d.Addrs = append(v4, v6...)
	return d, errors.Join(errs...)
}

func ipv4Addrs(v *kernel.View, inDevice vmem.Addr) ([]netip.Prefix, error) {
	if inDevice == 0 {
		return nil, nil
	}
	first, err := v.ObjectOf("in_device", inDevice).Field("ifa_list").Pointer()
	if err != nil {
		return nil, err
	}
	bind, err := kernel.Bind[struct {
		Addr uint32 `k:"ifa_local"`
		Bits uint8  `k:"ifa_prefixlen"`
	}](v.Kernel, "in_ifaddr")
	if err != nil {
		return nil, err
	}
	var next uint64
	if err := offsets(v, "in_ifaddr", map[string]*uint64{"ifa_next": &next}); err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for at, err := range chain(v, first, next) {
		if err != nil {
			return out, err
		}
		a, err := bind.Read(v, at)
		if err != nil {
			return out, err
		}
		out = append(out, netip.PrefixFrom(IPv4(v, a.Addr), int(a.Bits)))
	}
	return out, nil
}

func ipv6Addrs(v *kernel.View, inet6 vmem.Addr) ([]netip.Prefix, error) {
	if inet6 == 0 {
		return nil, nil
	}
	bind, err := kernel.Bind[struct {
		Addr [16]uint8 `k:"addr.in6_u.u6_addr8"`
		Bits uint32    `k:"prefix_len"`
	}](v.Kernel, "inet6_ifaddr")
	if err != nil {
		return nil, err
	}
	var head, link uint64
	err = errors.Join(offsets(v, "inet6_dev", map[string]*uint64{"addr_list": &head}), offsets(v, "inet6_ifaddr", map[string]*uint64{"if_list": &link}))
	if err != nil {
		return nil, err
	}
	var out []netip.Prefix
	var errs []error
	for at, err := range walk.List(v, inet6+vmem.Addr(head), link) {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		a, err := bind.Read(v, at)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, netip.PrefixFrom(netip.AddrFrom16(a.Addr), int(a.Bits)))
	}
	return out, errors.Join(errs...)
}

// IPv4 is the address in a __be32 that was read as a number of the target's byte order.
func IPv4(v *kernel.View, raw uint32) netip.Addr {
	var b [4]byte
	v.ByteOrder().PutUint32(b[:], raw)
	return netip.AddrFrom4(b)
}

// port is a __be16 that was read as a number of the target's byte order.
func port(v *kernel.View, raw uint16) uint16 {
	var b [2]byte
	v.ByteOrder().PutUint16(b[:], raw)
	return binary.BigEndian.Uint16(b[:])
}

// HWString is a hardware address as ip prints it; "" without one.
func HWString(hw []byte) string { return stdnet.HardwareAddr(hw).String() }
