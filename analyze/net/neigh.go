package net

import (
	"fmt"
	"iter"
	"net/netip"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// Neighbour is an entry of the ARP table, or of IPv6's neighbour table.
type Neighbour struct {
	Addr   vmem.Addr // struct neighbour
	IP     netip.Addr
	HW     []byte // nil where the device's addresses have no length
	State  uint8  // NUD_…
	Device *Device
}

// Tables of neighbours, by the kernel's variables. All namespaces share them.
var Tables = []string{"arp_tbl", "nd_tbl"}

type neighbour struct {
	State uint8     `k:"nud_state"`
	Dev   vmem.Addr `k:"dev"`
	HW    vmem.Addr `k:"&ha"`
	Key   vmem.Addr `k:"&primary_key"`
}

// maxHashBits bounds what a damaged table may claim; the kernel stops growing at some thousand entries.
const maxHashBits = 24

// Neighbours yields the entries of a table in the order of its hash. An error comes with what is known of the entry, or with
// nil if it is about the table.
func Neighbours(v *kernel.View, table string) iter.Seq2[*Neighbour, error] {
	return func(yield func(*Neighbour, error) bool) {
		w := &neighWalk{v: v, devices: make(map[vmem.Addr]*Device), yield: yield}
		if err := w.open(table); err != nil {
			yield(nil, fmt.Errorf("%s: %w", table, err))
			return
		}
		for i := range uint64(1) << w.bits {
			if v.Step() != nil || !w.bucket(i) {
				return
			}
		}
	}
}

type neighWalk struct {
	v       *kernel.View
	bind    kernel.Binding[neighbour]
	dev     kernel.Binding[netDevice]
	devices map[vmem.Addr]*Device
	keyLen  uint64
	buckets vmem.Addr
	bits    uint64
	hlist   bool // 6.13: chains are hlists
	link    uint64
	yield   func(*Neighbour, error) bool
}

func (w *neighWalk) open(table string) error {
	v := w.v
	var err error
	if w.bind, err = kernel.Bind[neighbour](v.Kernel, "neighbour"); err != nil {
		return err
	}
	if w.dev, err = kernel.Bind[netDevice](v.Kernel, "net_device"); err != nil {
		return err
	}
	tbl := v.Global(table)
	if w.keyLen, err = tbl.Field("key_len").Uint(); err != nil {
		return err
	}
	if w.keyLen != 4 && w.keyLen != 16 {
		return fmt.Errorf("keys of %d bytes are no IP addresses: damaged", w.keyLen)
	}
	nht := tbl.Field("nht")
	if w.bits, err = nht.Field("hash_shift").Uint(); err != nil {
		return err
	}
	if w.bits > maxHashBits {
		return fmt.Errorf("a hash of 2^%d buckets: damaged", w.bits)
	}
	heads, link := "hash_heads", "hash"
	if w.hlist = v.HasMember("neigh_hash_table", heads); !w.hlist {
		heads, link = "hash_buckets", "next"
	}
	if err := offsets(v, "neighbour", map[string]*uint64{link: &w.link}); err != nil {
		return err
	}
	w.buckets, err = nht.Field(heads).Pointer()
	return err
}

// bucket yields a chain; false ends the walk.
func (w *neighWalk) bucket(i uint64) bool {
	head := w.buckets + vmem.Addr(i*w.v.WordSize())
	var entries iter.Seq2[vmem.Addr, error]
	if w.hlist {
		entries = walk.HList(w.v, head, w.link)
	} else {
		first, err := w.v.Word(head)
		if err != nil {
			return w.yield(nil, fmt.Errorf("bucket %d: %w", i, err))
		}
		entries = chain(w.v, vmem.Addr(first), w.link)
	}
	for at, err := range entries {
		if err != nil {
			if !w.yield(nil, fmt.Errorf("neighbours, bucket %d: %w", i, err)) {
				return false
			}
			continue
		}
		n, err := w.read(at)
		if !w.yield(n, err) {
			return false
		}
	}
	return true
}

func (w *neighWalk) read(at vmem.Addr) (*Neighbour, error) {
	n := &Neighbour{Addr: at}
	s, err := w.bind.Read(w.v, at)
	if err != nil {
		return n, err
	}
	n.State = s.State
	key := make([]byte, w.keyLen)
	if err := w.v.Read(key, s.Key); err != nil {
		return n, err
	}
	n.IP, _ = netip.AddrFromSlice(key)
	if n.Device = w.devices[s.Dev]; n.Device == nil {
		d, err := w.dev.Read(w.v, s.Dev)
		if err != nil {
			return n, fmt.Errorf("its device: %w", err)
		}
		n.Device = &Device{Addr: s.Dev, Name: d.Name, Index: int(d.Index), Type: d.Type, Namespace: d.Net}
		if d.AddrLen <= maxHW {
			n.Device.HW = make([]byte, d.AddrLen)
		}
		w.devices[s.Dev] = n.Device
	}
	n.HW = make([]byte, len(n.Device.HW))
	return n, w.v.Read(n.HW, s.HW)
}

// neighStates are the bits of nud_state (include/uapi/linux/neighbour.h).
var neighStates = []string{"INCOMPLETE", "REACHABLE", "STALE", "DELAY", "PROBE", "FAILED", "NOARP", "PERMANENT"}

// NeighState names a nud_state: "REACHABLE".
func NeighState(s uint8) string {
	var out []string
	for i, name := range neighStates {
		if s>>i&1 != 0 {
			out = append(out, name)
		}
	}
	if out == nil {
		return "NONE"
	}
	return strings.Join(out, "|")
}

// HWType names an ARPHRD_ number of user space's (include/uapi/linux/if_arp.h).
func HWType(t uint16) string {
	if name, ok := hwTypes[t]; ok {
		return name
	}
	return fmt.Sprint(t)
}

var hwTypes = map[uint16]string{
	0: "NETROM", 1: "ETHER", 2: "EETHER", 3: "AX25", 4: "PRONET", 5: "CHAOS", 6: "IEEE802", 7: "ARCNET", 8: "APPLETLK", 15: "DLCI", 19: "ATM", 23: "METRICOM",
	24: "IEEE1394", 27: "EUI64", 32: "INFINIBAND", 256: "SLIP", 280: "CAN", 512: "PPP", 513: "HDLC", 519: "RAWIP", 768: "TUNNEL", 769: "TUNNEL6", 772: "LOOPBACK",
	774: "FDDI", 776: "SIT", 778: "IPGRE", 801: "IEEE80211", 803: "IEEE80211_RADIOTAP", 804: "IEEE802154", 823: "IP6GRE", 824: "NETLINK", 826: "VSOCKMON", 65534: "NONE",
}
