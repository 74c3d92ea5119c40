package net

import (
	"errors"
	"fmt"
	"iter"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// TCPSocket is a socket of the kernel's tables of TCP: one that a task has open, or one that none has (any more, or yet). Of those in TIME-WAIT and of
// requests for a connection there are the addresses alone.
type TCPSocket struct {
	Socket
	Namespace vmem.Addr // struct net
	Inode     uint64    // of the descriptors that it is open under; 0 if no task has it
	State     string    // as ss names it; "" if it could not be read
}

const (
	stateTimeWait = 6
	stateRequest  = 12 // TCP_NEW_SYN_RECV: a struct request_sock; to user space it is SYN-RECV (4.4)
)

// maxBuckets is what the largest machines have of ehash, with room: more is damage.
const maxBuckets = 1 << 26

// TCP yields the sockets of all tables of TCP, listeners first, in the order of /proc/net/tcp. An error comes with what is known of the socket, or with
// nil if it is about a table.
func TCP(v *kernel.View) iter.Seq2[*TCPSocket, error] {
	return func(yield func(*TCPSocket, error) bool) {
		tables, err := tcpTables(v)
		if err != nil && !yield(nil, err) {
			return
		}
		w := &tcpWalk{v: v, seen: make(map[vmem.Addr]bool)}
		for _, t := range tables {
			for _, part := range []func(vmem.Addr, func(*TCPSocket, error) bool) bool{w.listening, w.established} {
				if !part(t, yield) {
					return
				}
			}
		}
	}
}

// tcpTables are the structs inet_hashinfo: one for all, and since 6.1 those that namespaces were given for themselves.
func tcpTables(v *kernel.View) ([]vmem.Addr, error) {
	first, err := v.Symbol("tcp_hashinfo")
	if err != nil {
		return nil, fmt.Errorf("tcp_hashinfo: %w", err)
	}
	tables := []vmem.Addr{vmem.Addr(first.Addr)}
	t, err := v.Struct("net")
	if err != nil {
		return tables, err
	}
	own, ok := t.OffsetOf("ipv4.tcp_death_row.hashinfo")
	if !ok {
		return tables, nil
	}
	var link uint64
	head, err := v.Symbol("net_namespace_list")
	if err = errors.Join(err, offsets(v, "net", map[string]*uint64{"list": &link})); err != nil {
		return tables, fmt.Errorf("network namespaces: %w", err)
	}
	var errs []error
	seen := map[vmem.Addr]bool{tables[0]: true}
	for ns, err := range walk.List(v, vmem.Addr(head.Addr), link) {
		if err != nil {
			errs = append(errs, fmt.Errorf("network namespaces: %w", err))
			continue
		}
		p, err := v.Word(ns + vmem.Addr(own))
		if err != nil {
			errs = append(errs, fmt.Errorf("TCP's table of the network namespace at %#x: %w", uint64(ns), err))
		} else if at := vmem.Addr(p); at != 0 && !seen[at] {
			seen[at] = true
			tables = append(tables, at)
		}
	}
	return tables, errors.Join(errs...)
}

type tcpWalk struct {
	v    *kernel.View
	seen map[vmem.Addr]bool // damaged chains may lead into each other
}

// listening walks the listeners. Until 5.18 the table by ports has all of them, and is part of the struct; since then the one by addresses and ports has.
func (w *tcpWalk) listening(table vmem.Addr, yield func(*TCPSocket, error) bool) bool {
	o := w.v.ObjectOf("inet_hashinfo", table)
	bucket, err := w.v.Struct("inet_listen_hashbucket")
	if err != nil {
		return yield(nil, err)
	}
	head, ok := bucket.OffsetOf("nulls_head")
	if !ok {
		if head, ok = bucket.OffsetOf("head"); !ok {
			return yield(nil, errors.New("struct inet_listen_hashbucket of this kernel has no list"))
		}
	}
	if at, ok := o.Field("listening_hash").Addr(); ok {
		const ports = 32 // INET_LHTABLE_SIZE
		return w.buckets("listening_hash", at, ports, bucket.Size, head, yield)
	}
	at, err1 := o.Field("lhash2").Pointer()
	mask, err2 := o.Field("lhash2_mask").Uint()
	if err := errors.Join(err1, err2); err != nil {
		return yield(nil, fmt.Errorf("TCP's table at %#x: %w", uint64(table), err))
	}
	return w.buckets("lhash2", at, mask+1, bucket.Size, head, yield)
}

func (w *tcpWalk) established(table vmem.Addr, yield func(*TCPSocket, error) bool) bool {
	o := w.v.ObjectOf("inet_hashinfo", table)
	at, err1 := o.Field("ehash").Pointer()
	mask, err2 := o.Field("ehash_mask").Uint()
	bucket, err3 := w.v.Struct("inet_ehash_bucket")
	if err := errors.Join(err1, err2, err3); err != nil {
		return yield(nil, fmt.Errorf("TCP's table at %#x: %w", uint64(table), err))
	}
	return w.buckets("ehash", at, mask+1, bucket.Size, 0, yield)
}

// buckets walks the chains of a table of n buckets of size bytes, whose heads lie at the offset head. Most are empty, so the table is read in blocks.
func (w *tcpWalk) buckets(what string, at vmem.Addr, n, size, head uint64, yield func(*TCPSocket, error) bool) bool {
	if n > maxBuckets || size < head+w.v.WordSize() || size > 4096 {
		return yield(nil, fmt.Errorf("%s at %#x: %d buckets of %d bytes: damaged", what, uint64(at), n, size))
	}
	var link uint64
	if err := offsets(w.v, "sock", map[string]*uint64{"__sk_common.skc_node": &link}); err != nil {
		return yield(nil, err)
	}
	const block = 64 << 10 // bytes
	per := block / size
	buf := make([]byte, per*size)
	for i := uint64(0); i < n; i += per {
		if err := w.v.Step(); err != nil {
			return yield(nil, err)
		}
		first := at + vmem.Addr(i*size)
		b := buf[:min(per, n-i)*size]
		if err := w.v.Read(b, first); err != nil {
			if !yield(nil, fmt.Errorf("%s, buckets from %d: %w", what, i, err)) {
				return false
			}
			continue
		}
		for k := uint64(0); k < uint64(len(b)); k += size {
			if w.empty(b[k+head:]) {
				continue
			}
			if !w.chain(first+vmem.Addr(k+head), link, yield) {
				return false
			}
		}
	}
	return true
}

// empty tells whether a head is NULL or the mark that ends a chain.
func (w *tcpWalk) empty(b []byte) bool {
	var p uint64
	if order := w.v.ByteOrder(); w.v.WordSize() == 4 {
		p = uint64(order.Uint32(b))
	} else {
		p = order.Uint64(b)
	}
	return p == 0 || p&1 != 0
}

func (w *tcpWalk) chain(head vmem.Addr, link uint64, yield func(*TCPSocket, error) bool) bool {
	for sk, err := range walk.HList(w.v, head, link) {
		if err != nil {
			if !yield(nil, err) {
				return false
			}
			continue
		}
		if w.seen[sk] {
			return yield(nil, fmt.Errorf("bucket at %#x leads to the socket at %#x once more: %w", uint64(head), uint64(sk), walk.ErrLoop))
		}
		w.seen[sk] = true
		if !yield(readTCP(w.v, sk)) {
			return false
		}
	}
	return true
}

// readTCP reads the struct sock at addr, or what begins like one.
func readTCP(v *kernel.View, addr vmem.Addr) (*TCPSocket, error) {
	s := &TCPSocket{Socket: Socket{Sock: addr, Type: typeStream, Protocol: protoTCP}}
	k, err := kernel.ReadStruct[sockCommon](v, "sock_common", addr)
	if err != nil {
		return s, err
	}
	s.Family, s.Socket.State, s.Namespace = k.Family, k.State, k.Net
	if s.Family != AFInet && s.Family != AFInet6 {
		return s, fmt.Errorf("a socket of family %d in a table of TCP: damaged", s.Family)
	}
	switch s.Socket.State {
	case stateTimeWait:
		state, err := v.ObjectOf("inet_timewait_sock", addr).Field("tw_substate").Uint()
		s.State = stateName(uint8(state))
		return s, errors.Join(err, s.endpoints(v, k.Saddr, k.Daddr, k.Saddr6, k.Daddr6, k.Num, k.Dport))
	case stateRequest:
		s.State = stateName(3)
		return s, s.endpoints(v, k.Saddr, k.Daddr, k.Saddr6, k.Daddr6, k.Num, k.Dport)
	}
	s.State = stateName(s.Socket.State)
	full, err := kernel.ReadStruct[sock](v, "sock", addr)
	if err != nil {
		return s, errors.Join(err, s.endpoints(v, k.Saddr, k.Daddr, k.Saddr6, k.Daddr6, k.Num, k.Dport))
	}
	return s, errors.Join(s.inet(v, &full), s.open(v))
}

// open finds out whether tasks have the socket open: the inode that lies behind its struct socket.
func (s *TCPSocket) open(v *kernel.View) error {
	at, err := v.ObjectOf("sock", s.Sock).Field("sk_socket").Pointer()
	if err != nil || at == 0 {
		return err
	}
	s.Addr = at
	var inSocket uint64
	if err := offsets(v, "socket_alloc", map[string]*uint64{"socket": &inSocket}); err != nil {
		return err
	}
	s.Inode, err = v.ObjectOf("socket_alloc", at-vmem.Addr(inSocket)).Field("vfs_inode").Field("i_ino").Uint()
	return err
}

// sockCommon is what sockets in TIME-WAIT and requests have, too.
type sockCommon struct {
	Family uint16    `k:"skc_family"`
	State  uint8     `k:"skc_state"`
	Dport  uint16    `k:"skc_dport"`
	Num    uint16    `k:"skc_num"`
	Daddr  uint32    `k:"skc_daddr"`
	Saddr  uint32    `k:"skc_rcv_saddr"`
	Daddr6 vmem.Addr `k:"&skc_v6_daddr,optional"`
	Saddr6 vmem.Addr `k:"&skc_v6_rcv_saddr,optional"`
	Net    vmem.Addr `k:"skc_net.net,optional"` // 4.1; without CONFIG_NET_NS there is none
}
