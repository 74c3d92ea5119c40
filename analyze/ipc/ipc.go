// Package ipc reads the facilities of System V: shared memory, semaphores and message queues of a namespace.
package ipc

import (
	"errors"
	"fmt"
	"iter"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// Perm is what all three have. Times are seconds since 1970; 0 for never.
type Perm struct {
	Addr     vmem.Addr // of the shmid_kernel, sem_array or msg_queue, whose first member this is
	Key      uint32
	ID       int32
	UID, GID uint32 // of the owner, as the kernel numbers them
	Mode     uint16
	Changed  int64
}

// Segment is shared memory.
type Segment struct {
	Perm
	Size              uint64 // bytes
	Attached          uint64
	Attach, Detach    int64
	Creator, Last     *int32 // pids in the first namespace; 0 for none, nil if they can't be read
	Inode             vmem.Addr
	Allocated         uint64 // pages that Size needs
	Resident, Swapped uint64 // pages
}

// Destroyed: it goes when the last process detaches.
func (s *Segment) Destroyed() bool { return s.Mode&0o1000 != 0 }

// Locked: it is not swapped out.
func (s *Segment) Locked() bool { return s.Mode&0o2000 != 0 }

// Semaphores are an array of semaphores.
type Semaphores struct {
	Perm
	Count  int
	Values []int32 // of each, at most maxValues
}

// Queue is a queue of messages.
type Queue struct {
	Perm
	Bytes, Messages, Limit uint64
	Sent, Received         int64
	LastSender, LastReader int32 // pids in the first namespace; 0 for none
}

// Namespace of the task whose task_struct lies at addr; 0 for a task that has none any more.
func Namespace(v *kernel.View, task vmem.Addr) (vmem.Addr, error) {
	ns, err := v.ObjectOf("task_struct", task).Field("nsproxy").Pointer()
	if err != nil || ns == 0 {
		return 0, err
	}
	return v.ObjectOf("nsproxy", ns).Field("ipc_ns").Pointer()
}

// Initial is the first namespace.
func Initial(v *kernel.View) (vmem.Addr, error) {
	s, err := v.Symbol("init_ipc_ns")
	if err != nil {
		return 0, fmt.Errorf("init_ipc_ns: %w", err)
	}
	return vmem.Addr(s.Addr), nil
}

// Indexes of ipc_namespace.ids (ipc/util.h).
const (
	idsSem = 0
	idsMsg = 1
	idsShm = 2
)

type perm struct {
	Key  uint32 `k:"key"`
	ID   int32  `k:"id"`
	UID  uint32 `k:"uid"`
	GID  uint32 `k:"gid"`
	Mode uint16 `k:"mode"`
}

// entries yields what stands in one of a namespace's tables.
func entries(v *kernel.View, ns vmem.Addr, which int64, what string) iter.Seq2[Perm, error] {
	return func(yield func(Perm, error) bool) {
		fail := func(err error) bool { return yield(Perm{}, fmt.Errorf("%s: %w", what, err)) }
		bind, err := kernel.Bind[perm](v.Kernel, "kern_ipc_perm")
		if err != nil {
			fail(err)
			return
		}
		idr := v.ObjectOf("ipc_namespace", ns).Field("ids").Index(which).Field("ipcs_idr")
		at, ok := idr.Addr()
		if !ok {
			fail(cmpErr(idr.Err(), "the kernel's ipc_ids have no ipcs_idr"))
			return
		}
		seen := make(map[uint64]bool)
		for e, err := range walk.IDR(v, at) {
			if err == nil && seen[e.Value] {
				err = fmt.Errorf("entry %#x: %w", e.Value, walk.ErrLoop)
			}
			if err != nil {
				if !fail(err) {
					return
				}
				continue
			}
			seen[e.Value] = true
			p, err := bind.Read(v, vmem.Addr(e.Value))
			if !yield(Perm{Addr: vmem.Addr(e.Value), Key: p.Key, ID: p.ID, UID: p.UID, GID: p.GID, Mode: p.Mode}, err) {
				return
			}
		}
	}
}

func cmpErr(err error, otherwise string) error {
	if err == nil {
		return errors.New(otherwise)
	}
	return err
}

// Shm yields the segments of a namespace, by rising index. An error comes with what is known of the segment, or with nil if it
// is about the table.
func Shm(v *kernel.View, ns vmem.Addr) iter.Seq2[*Segment, error] {
	return func(yield func(*Segment, error) bool) {
		for p, err := range entries(v, ns, idsShm, "shared memory") {
			var s *Segment
			if p.Addr != 0 {
				s = &Segment{Perm: p}
				if err == nil {
					err = s.read(v)
				}
			}
			if !yield(s, err) {
				return
			}
		}
	}
}

func (s *Segment) read(v *kernel.View) error {
	k, err := kernel.ReadStruct[struct {
		File    vmem.Addr `k:"shm_file"`
		Nattch  uint64    `k:"shm_nattch"`
		Size    uint64    `k:"shm_segsz"`
		Atim    int64     `k:"shm_atim"`
		Dtim    int64     `k:"shm_dtim"`
		Ctim    int64     `k:"shm_ctim"`
		Creator vmem.Addr `k:"shm_cprid"`
		Last    vmem.Addr `k:"shm_lprid"`
	}](v, "shmid_kernel", s.Addr)
	if err != nil {
		return err
	}
	s.Size, s.Attached, s.Attach, s.Detach, s.Changed = k.Size, k.Nattch, k.Atim, k.Dtim, k.Ctim
	s.Allocated = (s.Size + v.PageSize() - 1) / v.PageSize()
	creator, err1 := pidNumber(v, k.Creator)
	last, err2 := pidNumber(v, k.Last)
	if err1 == nil {
		s.Creator = &creator
	}
	if err2 == nil {
		s.Last = &last
	}
	return errors.Join(err1, err2, s.pages(v, k.File))
}

// pages counts what of the segment is in memory and in swap.
func (s *Segment) pages(v *kernel.View, file vmem.Addr) error {
	inode := v.ObjectOf("file", file).Field("f_inode")
	at, err := inode.Pointer()
	if err != nil {
		return fmt.Errorf("its file: %w", err)
	}
	s.Inode = at
	n, err := inode.Field("i_mapping").Field("nrpages").Uint()
	if err != nil {
		return fmt.Errorf("its pages: %w", err)
	}
	block, err := inode.Field("i_sb").Field("s_blocksize").Uint()
	if err != nil {
		return fmt.Errorf("its file system: %w", err)
	}
	s.Resident = n
	if per := block / v.PageSize(); per > 1 { // hugetlbfs
		if n <= s.Allocated/per { // until 6.7 nrpages counted huge pages; pages of the usual size are more than fit
			s.Resident = n * per
		}
		return nil
	}
	s.Swapped, err = inode.ContainerOf("shmem_inode_info", "vfs_inode").Field("swapped").Uint()
	if err != nil {
		return fmt.Errorf("its swapped pages: %w", err)
	}
	return nil
}

// pidNumber is the number of a struct pid in the first namespace.
func pidNumber(v *kernel.View, pid vmem.Addr) (int32, error) {
	if pid == 0 {
		return 0, nil
	}
	n, err := v.ObjectOf("pid", pid).Field("numbers").Index(0).Field("nr").Int()
	if err != nil {
		return 0, fmt.Errorf("struct pid at %#x: %w", uint64(pid), err)
	}
	return int32(n), nil
}

// maxValues bounds the semaphores whose values are read; SEMMSL is 32000.
const maxValues = 32000

// Sem yields the arrays of semaphores of a namespace, as Shm does segments.
func Sem(v *kernel.View, ns vmem.Addr) iter.Seq2[*Semaphores, error] {
	return func(yield func(*Semaphores, error) bool) {
		for p, err := range entries(v, ns, idsSem, "semaphores") {
			var s *Semaphores
			if p.Addr != 0 {
				s = &Semaphores{Perm: p}
				if err == nil {
					err = s.read(v)
				}
			}
			if !yield(s, err) {
				return
			}
		}
	}
}

func (s *Semaphores) read(v *kernel.View) error {
	a := v.ObjectOf("sem_array", s.Addr)
	n, err := a.Field("sem_nsems").Int()
	if err != nil {
		return err
	}
	s.Count = int(n)
	if s.Changed, err = a.Field("sem_ctime").Int(); err != nil {
		return err
	}
	if n < 0 || n > maxValues {
		return fmt.Errorf("an array of %d semaphores: damaged", n)
	}
	for i := range n {
		x, err := a.Field("sems").Index(i).Field("semval").Int()
		if err != nil {
			return err
		}
		s.Values = append(s.Values, int32(x))
	}
	return nil
}

// Msg yields the message queues of a namespace, as Shm does segments.
func Msg(v *kernel.View, ns vmem.Addr) iter.Seq2[*Queue, error] {
	return func(yield func(*Queue, error) bool) {
		for p, err := range entries(v, ns, idsMsg, "message queues") {
			var q *Queue
			if p.Addr != 0 {
				q = &Queue{Perm: p}
				if err == nil {
					err = q.read(v)
				}
			}
			if !yield(q, err) {
				return
			}
		}
	}
}

func (q *Queue) read(v *kernel.View) error {
	k, err := kernel.ReadStruct[struct {
		Bytes  uint64    `k:"q_cbytes"`
		Num    uint64    `k:"q_qnum"`
		Limit  uint64    `k:"q_qbytes"`
		Stime  int64     `k:"q_stime"`
		Rtime  int64     `k:"q_rtime"`
		Ctime  int64     `k:"q_ctime"`
		Sender vmem.Addr `k:"q_lspid"`
		Reader vmem.Addr `k:"q_lrpid"`
	}](v, "msg_queue", q.Addr)
	if err != nil {
		return err
	}
	q.Bytes, q.Messages, q.Limit, q.Sent, q.Received, q.Changed = k.Bytes, k.Num, k.Limit, k.Stime, k.Rtime, k.Ctime
	sender, err1 := pidNumber(v, k.Sender)
	reader, err2 := pidNumber(v, k.Reader)
	q.LastSender, q.LastReader = sender, reader
	return errors.Join(err1, err2)
}
