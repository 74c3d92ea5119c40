package ipc

import (
	"fmt"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
)

const decls = `
struct xarray { int xa_flags; void *xa_head; };
struct xa_node { unsigned char shift; unsigned char offset; struct xa_node *parent; void *slots[16]; };
struct idr { struct xarray idr_rt; unsigned int idr_base; };
struct ipc_ids { int in_use; struct idr ipcs_idr; };
struct ipc_namespace { struct ipc_ids ids[3]; };
struct kern_ipc_perm { int id; int key; unsigned int uid; unsigned int gid; unsigned short mode; };
struct upid { int nr; };
struct pid { int level; struct upid numbers[1]; };
struct shmid_kernel { struct kern_ipc_perm shm_perm; struct file *shm_file; unsigned long shm_nattch; unsigned long shm_segsz; long shm_atim; long shm_dtim; long shm_ctim;
  struct pid *shm_cprid; struct pid *shm_lprid; };
struct file { struct inode *f_inode; };
struct inode { struct address_space *i_mapping; struct super_block *i_sb; };
struct address_space { unsigned long nrpages; };
struct super_block { unsigned long s_blocksize; };
struct shmem_inode_info { unsigned long swapped; struct inode vfs_inode; };
struct sem { int semval; int x; };
struct sem_array { struct kern_ipc_perm sem_perm; long sem_ctime; int sem_nsems; struct sem sems[]; };
struct msg_queue { struct kern_ipc_perm q_perm; long q_stime; long q_rtime; long q_ctime; unsigned long q_cbytes; unsigned long q_qnum; unsigned long q_qbytes;
  struct pid *q_lspid; struct pid *q_lrpid; };
`

const wild = 0xdead000000000100

// world is a namespace with three tables.
type world struct {
	*kerneltest.Machine
	ns    vmem.Addr
	nodes [3]vmem.Addr
}

func newWorld(t *testing.T) world {
	w := world{Machine: kerneltest.New(t, decls)}
	w.ns = w.Alloc(256)
	size := (w.Offset("ipc_ids", "ipcs_idr") + 24 + 7) &^ 7
	for i := range w.nodes {
		w.nodes[i] = w.Alloc(256)
		w.Word(w.ns+vmem.Addr(uint64(i)*size+w.Offset("ipc_ids", "ipcs_idr")+w.Offset("xarray", "xa_head")), uint64(w.nodes[i])|2)
	}
	return w
}

func (w world) slot(table, i int, p vmem.Addr) {
	w.Word(w.nodes[table]+vmem.Addr(w.Offset("xa_node", "slots")+uint64(i)*8), uint64(p))
}

// segment makes one of size bytes with n pages in memory, on a file system with blocks of that size.
func (w world) segment(id, size, n, block uint64) vmem.Addr {
	s, f, i, m, sb, pid := w.Alloc(128), w.Alloc(16), w.Alloc(64), w.Alloc(16), w.Alloc(16), w.Alloc(16)
	w.Set(s, "kern_ipc_perm", "id", id)
	w.Set(s, "kern_ipc_perm", "mode", 0o1640)
	w.Set(s, "shmid_kernel", "shm_segsz", size)
	w.Set(s, "shmid_kernel", "shm_file", uint64(f))
	w.Set(s, "shmid_kernel", "shm_cprid", uint64(pid))
	w.Put(pid+vmem.Addr(w.Offset("pid", "numbers")), 4, 77)
	inode := i + vmem.Addr(w.Offset("shmem_inode_info", "vfs_inode"))
	w.Set(i, "shmem_inode_info", "swapped", 5)
	w.Set(f, "file", "f_inode", uint64(inode))
	w.Set(inode, "inode", "i_mapping", uint64(m))
	w.Set(inode, "inode", "i_sb", uint64(sb))
	w.Set(m, "address_space", "nrpages", n)
	w.Set(sb, "super_block", "s_blocksize", block)
	return s
}

func (w world) shm() string {
	out := ""
	for s, err := range Shm(w.View(), w.ns) {
		if s != nil {
			out += fmt.Sprintf("%d %s %d/%d/%d %v;", s.ID, number(s.Creator), s.Allocated, s.Resident, s.Swapped, s.Destroyed())
		}
		out += kerneltest.Ending(err)
	}
	return out
}

func number(n *int32) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

// TestShm: pages of both kinds of file systems, and tables that lead astray.
func TestShm(t *testing.T) {
	w := newWorld(t)
	w.slot(idsShm, 0, w.segment(0, 10000, 2, 4096))
	w.slot(idsShm, 1, w.segment(1, 4<<20, 1, 2<<20))   // until 6.7
	w.slot(idsShm, 2, w.segment(2, 4<<20, 512, 2<<20)) // since
	if got, want := w.shm(), "0 77 3/2/5 true;1 77 1024/512/0 true;2 77 1024/512/0 true;"; got != want {
		t.Errorf("%s; want %s", got, want)
	}
	w = newWorld(t)
	s := w.segment(0, 4096, 1, 4096)
	w.slot(idsShm, 0, s)
	w.slot(idsShm, 1, s)
	w.slot(idsShm, 2, vmem.Addr(wild))
	lost := w.segment(3, 4096, 1, 4096)
	w.Set(lost, "shmid_kernel", "shm_file", wild)
	w.slot(idsShm, 3, lost)
	if got, want := w.shm(), "0 77 1/1/5 true;loop;0 - 0/0/0 false;error;3 77 1/0/0 true;error;"; got != want {
		t.Errorf("damaged: %s; want %s", got, want)
	}
	w = newWorld(t)
	w.Word(w.nodes[idsShm]+vmem.Addr(w.Offset("xa_node", "slots")), uint64(w.nodes[idsShm])|2) // a node that holds itself
	w.Put(w.nodes[idsShm], 1, 4)
	if got := w.shm(); got != "error;" {
		t.Errorf("a node within itself: %s", got)
	}
}

// TestSemMsg: values of semaphores, and counts that cannot be.
func TestSemMsg(t *testing.T) {
	w := newWorld(t)
	for i, n := range []uint64{3, 1 << 30} {
		s := w.Alloc(128)
		w.Set(s, "sem_array", "sem_nsems", n)
		w.Put(s+vmem.Addr(w.Offset("sem_array", "sems")+16), 4, 5)
		w.slot(idsSem, i, s)
	}
	q := w.Alloc(128)
	w.Set(q, "msg_queue", "q_qnum", 3)
	w.Set(q, "msg_queue", "q_lrpid", wild)
	w.slot(idsMsg, 0, q)
	got := ""
	for s, err := range Sem(w.View(), w.ns) {
		got += fmt.Sprint(s.Values) + kerneltest.Ending(err)
	}
	if got != "[0 0 5][]error;" {
		t.Errorf("semaphores: %s", got)
	}
	got = ""
	for m, err := range Msg(w.View(), w.ns) {
		got += fmt.Sprint(m.Messages, " ", m.LastSender, " ") + kerneltest.Ending(err)
	}
	if got != "3 0 error;" {
		t.Errorf("queues: %s", got)
	}
}
