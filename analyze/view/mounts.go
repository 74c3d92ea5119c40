package view

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"kdx/analyze/vmem"
)

// Mounts is mount. Its JSON is an array of Mount.
type Mounts struct {
	Rows   []Mount
	Groups bool // -a: a heading for each namespace
	Files  bool // -f
	Dirty  bool // -i
}

// Mount is a file system at a place. What could not be read is null.
type Mount struct {
	Addr      vmem.Addr  `json:"mount"`
	VFSMount  vmem.Addr  `json:"vfsmount"`
	Super     vmem.Addr  `json:"super_block"`
	ID        int32      `json:"id"`
	ParentID  *int32     `json:"parent_id"`
	Type      *string    `json:"type"`
	Source    *string    `json:"source"`
	Path      *string    `json:"path"`        // from the root of the namespace
	Root      *string    `json:"root"`        // which directory of the file system stands there
	Device    *string    `json:"device"`      // "8:1", of the file system
	Options   []string   `json:"options"`     // the mount's own
	ReadOnly  *bool      `json:"fs_readonly"` // the whole file system is
	Covered   bool       `json:"overmounted"` // another mount stands on the same place, so that this one can't be reached
	Namespace vmem.Addr  `json:"namespace"`
	NSNumber  *uint64    `json:"namespace_id"`
	OpenFiles []OpenFile `json:"open_files,omitempty"`
	Dirty     []Dirty    `json:"dirty_inodes,omitempty"`

	// Who is a task in the namespace, for its heading.
	Who *TaskHeader `json:"-"`
}

// OpenFile is a file that some task has open.
type OpenFile struct {
	Dentry vmem.Addr `json:"dentry"`
	Inode  vmem.Addr `json:"inode"`
	Type   string    `json:"type"`
	Path   *string   `json:"path"`
}

// Dirty is an inode that waits to be written.
type Dirty struct {
	Inode  vmem.Addr `json:"inode"`
	Number *uint64   `json:"inode_number"`
}

// Text writes crash's table.
func (l *Mounts) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	const head = "     MOUNT           SUPERBLK     TYPE   DEVNAME   DIRNAME\n"
	many := l.Files || l.Dirty
	if !l.Groups && !many {
		bw.WriteString(head)
	}
	var last vmem.Addr
	for i := range l.Rows {
		m := &l.Rows[i]
		if l.Groups && m.Namespace != last {
			last = m.Namespace
			m.heading(bw, i > 0)
			if !many {
				bw.WriteString(head)
			}
		}
		if many {
			bw.WriteString(head)
		}
		covered := ""
		if m.Covered {
			covered = " (overmounted)"
		}
		fmt.Fprintf(bw, "%016x %016x %-6s %-9s %s%s\n", uint64(m.Addr), uint64(m.Super), nameOrDash(m.Type), nameOrDash(m.Source), nameOrDash(m.Path), covered)
		if l.Files {
			m.files(bw)
		}
		if l.Dirty {
			m.dirty(bw)
		}
		if many && i+1 < len(l.Rows) {
			bw.WriteByte('\n')
		}
	}
	return bw.Flush()
}

func (m *Mount) heading(bw *bufio.Writer, further bool) {
	if further {
		bw.WriteByte('\n')
	}
	fmt.Fprintf(bw, "MNT_NAMESPACE: %016x  NUMBER: %s", uint64(m.Namespace), orDash(m.NSNumber))
	if m.Who != nil {
		fmt.Fprintf(bw, "  PID: %d  COMMAND: \"%s\"", m.Who.PID, Printable(m.Who.Comm))
	}
	bw.WriteByte('\n')
}

func (m *Mount) files(bw *bufio.Writer) {
	if len(m.OpenFiles) == 0 {
		bw.WriteString("OPEN FILES: (none)\n")
		return
	}
	bw.WriteString("OPEN FILES:\n     DENTRY           INODE       TYPE PATH\n")
	for _, f := range m.OpenFiles {
		fmt.Fprintf(bw, "%016x %016x %-4s %s\n", uint64(f.Dentry), uint64(f.Inode), f.Type, nameOrDash(f.Path))
	}
}

func (m *Mount) dirty(bw *bufio.Writer) {
	if len(m.Dirty) == 0 {
		bw.WriteString("DIRTY INODES: (none)\n")
		return
	}
	bw.WriteString("DIRTY INODES\n")
	for _, d := range m.Dirty {
		fmt.Fprintf(bw, "%016x\n", uint64(d.Inode))
	}
}

// MarshalJSON writes the rows.
func (l *Mounts) MarshalJSON() ([]byte, error) { return marshalRows(l.Rows) }

// marshalRows is a JSON array, also of no rows.
func marshalRows[T any](rows []T) ([]byte, error) {
	if rows == nil {
		rows = []T{}
	}
	return json.Marshal(rows)
}
