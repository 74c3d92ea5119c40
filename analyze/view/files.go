package view

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"

	"kdx/analyze/vmem"
)

// FileTables is files: what each task has open. Its JSON is an array of FileTable.
type FileTables struct {
	Tasks iter.Seq[*FileTable]
	Cache bool // -c: what of each file is in the page cache
}

// FileTable is what a task has open. Root and CWD are null for a task that has left them, Files is if nothing of them could be read.
type FileTable struct {
	TaskHeader
	Root  *string    `json:"root"`
	CWD   *string    `json:"cwd"`
	Files []TaskFile `json:"files"`

	Lost bool `json:"-"` // of Files some could not be read
	Gone bool `json:"-"` // the task has neither root nor working directory any more
}

// TaskFile is an open file. What could not be read is null.
type TaskFile struct {
	FD      int        `json:"fd"`
	File    vmem.Addr  `json:"file"`
	Dentry  *vmem.Addr `json:"dentry"`
	Inode   *vmem.Addr `json:"inode"`
	Number  *uint64    `json:"inode_number"`
	Type    *string    `json:"type"` // REG, DIR, CHR, BLK, FIFO, SOCK, LNK, or UNKN
	Mode    *uint32    `json:"mode"` // as stat gives it
	Path    *string    `json:"path"` // as /proc/PID/fd shows it
	Mapping *vmem.Addr `json:"mapping"`
	Pages   *uint64    `json:"cached_pages"`
	// Protocol and Sock are those of a socket.
	Protocol string     `json:"protocol,omitempty"`
	Sock     *vmem.Addr `json:"sock,omitempty"`
}

// Text writes crash's tables. What crash shows as PATH of a socket, its protocol, comes before the name that /proc has.
func (t *FileTables) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriterSize(w, 32<<10)
	sep := ""
	for x := range t.Tasks {
		bw.WriteString(sep)
		sep = "\n"
		x.text(bw, t.Cache)
	}
	return bw.Flush()
}

func (x *FileTable) text(bw *bufio.Writer, cache bool) {
	bw.WriteString(x.line())
	if !x.Gone {
		fmt.Fprintf(bw, "ROOT: %s    CWD: %s\n", nameOrDash(x.Root), nameOrDash(x.CWD))
	}
	switch {
	case len(x.Files) == 0 && x.Lost:
		bw.WriteString("Open files: -\n")
		return
	case len(x.Files) == 0:
		bw.WriteString("No open files\n")
		return
	case cache:
		bw.WriteString(" FD      INODE          I_MAPPING     NRPAGES TYPE PATH\n")
	default:
		bw.WriteString(" FD       FILE            DENTRY           INODE       TYPE PATH\n")
	}
	for i := range x.Files {
		f := &x.Files[i]
		if cache {
			fmt.Fprintf(bw, "%3d %16s %16s %7s", f.FD, addrOrDash(f.Inode), addrOrDash(f.Mapping), orDash(f.Pages))
		} else {
			fmt.Fprintf(bw, "%3d %016x %16s %16s", f.FD, uint64(f.File), addrOrDash(f.Dentry), addrOrDash(f.Inode))
		}
		fmt.Fprintf(bw, " %-4s ", nameOrDash(f.Type))
		if f.Protocol != "" {
			bw.WriteString(Printable(f.Protocol) + " ")
		}
		bw.WriteString(nameOrDash(f.Path) + "\n")
	}
}

// StreamJSON writes the array.
func (t *FileTables) StreamJSON(w io.Writer) error {
	a := arrayWriter{w: w}
	for x := range t.Tasks {
		if x.Files == nil && !x.Lost {
			x.Files = []TaskFile{}
		}
		if err := a.add(x); err != nil {
			return err
		}
	}
	return a.end()
}

// FileNames is files -d. Its JSON is an array of FileName.
type FileNames []FileName

// FileName is a dentry, and where it stands. A dentry without an inode is the name of a file that does not exist.
type FileName struct {
	Dentry   vmem.Addr  `json:"dentry"`
	Inode    *vmem.Addr `json:"inode"`
	Super    vmem.Addr  `json:"super_block"`
	Type     *string    `json:"type"`
	Path     *string    `json:"path"`
	Protocol string     `json:"protocol,omitempty"`
}

// Text writes crash's table.
func (l FileNames) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	bw.WriteString("     DENTRY           INODE           SUPERBLK     TYPE PATH\n")
	for _, f := range l {
		fmt.Fprintf(bw, "%016x %16s %016x %-4s ", uint64(f.Dentry), addrOrDash(f.Inode), uint64(f.Super), nameOrDash(f.Type))
		if f.Protocol != "" {
			bw.WriteString(Printable(f.Protocol) + " ")
		}
		bw.WriteString(nameOrDash(f.Path) + "\n")
	}
	return bw.Flush()
}

// FilePages is files -p: what of an inode is in the page cache.
type FilePages struct {
	Inode vmem.Addr
	Count *uint64
	Pages PageLines
}

// Text writes crash's table.
func (p *FilePages) Text(w io.Writer, o Options) error {
	if err := inodePages(w, p.Inode, p.Count); err != nil {
		return err
	}
	return p.Pages.Text(w, o)
}

func inodePages(w io.Writer, inode vmem.Addr, count *uint64) error {
	_, err := fmt.Fprintf(w, "     INODE        NRPAGES\n%016x  %7s\n\n", uint64(inode), orDash(count))
	return err
}

// StreamJSON writes {"inode", "cached_pages", "pages"}; pages are those of kmem -p.
func (p *FilePages) StreamJSON(w io.Writer) error {
	head, err := json.Marshal(struct {
		Inode vmem.Addr `json:"inode"`
		Count *uint64   `json:"cached_pages"`
	}{p.Inode, p.Count})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, `%s,"pages":`, head[:len(head)-1]); err != nil {
		return err
	}
	if err := p.Pages.StreamJSON(w); err != nil {
		return err
	}
	_, err = io.WriteString(w, "}")
	return err
}

// FileNodes is files -n: on which memory nodes the cached pages of an inode lie.
type FileNodes struct {
	Inode vmem.Addr   `json:"inode"`
	Count *uint64     `json:"cached_pages"`
	Nodes []NodePages `json:"nodes"`
}

// NodePages counts pages of a memory node.
type NodePages struct {
	Node  int    `json:"node"`
	Pages uint64 `json:"pages"`
}

// Text writes a line a node.
func (n *FileNodes) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	if err := inodePages(bw, n.Inode, n.Count); err != nil {
		return err
	}
	bw.WriteString("     NODE           PAGES\n")
	for _, x := range n.Nodes {
		fmt.Fprintf(bw, "%9d  %14d\n", x.Node, x.Pages)
	}
	return bw.Flush()
}

func nameOrDash(s *string) string {
	if s == nil {
		return "-"
	}
	return Printable(*s)
}

// addrOrDash is for columns of addresses.
func addrOrDash(a *vmem.Addr) string {
	if a == nil {
		return "-"
	}
	return fmt.Sprintf("%016x", uint64(*a))
}
