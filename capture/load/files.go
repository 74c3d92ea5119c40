package load

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"kdx/internal/unpack"
)

// File is a file that was loaded.
type File struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
	// SHA256 is the sum of the file; of an initrd of kdx's, that of what follows its head, as the head has it.
	SHA256 string `json:"sha256"`
	// Print changes whenever the file does, as far as the filesystem tells; "" if it was too young for that to be sure.
	Print string `json:"print,omitempty"`
	// Copy holds the same bytes whatever becomes of Path; "" if there is none.
	Copy string `json:"copy,omitempty"`
}

// opened is a file that is going to be loaded. The kernel gets the descriptor that was read here, so what was looked at is what it
// takes, whatever is renamed meanwhile.
type opened struct {
	file *os.File
	File
	// from is the path that was opened: Path, or a copy.
	from string
	// archive is set for an initrd.
	archive *Archive
}

func (h *Host) openOnly(path string) (*opened, error) {
	f, fi, err := unpack.OpenRegular(h.path(path))
	if err != nil {
		return nil, err
	}
	return &opened{file: f, File: File{Path: path, Size: fi.Size(), Print: printOf(fi)}, from: path}, nil
}

// printOf is a file's identity and times. Two changes within a tick of the filesystem's clock have the same times, so a file that was
// changed just now has none.
func printOf(fi os.FileInfo) string {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || time.Since(time.Unix(st.Ctim.Unix())) < time.Second {
		return ""
	}
	return fmt.Sprintf("%d:%d:%d:%d.%09d:%d.%09d", st.Dev, st.Ino, st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec)
}

// opener opens a file that is to be loaded. known is what is loaded now, of which a file that has not changed need not be read again.
type opener func(ctx context.Context, path string, known File) (*opened, error)

func (o *opened) is(known File) bool {
	return known.Print != "" && known.Print == o.Print && known.Path == o.Path
}

func (h *Host) open(ctx context.Context, path string, known File) (*opened, error) {
	o, err := h.openOnly(path)
	if err != nil {
		return nil, err
	}
	if o.is(known) {
		o.SHA256 = known.SHA256
		return o, nil
	}
	if err := o.sum(ctx); err != nil {
		o.file.Close()
		return nil, err
	}
	return o, nil
}

// openInitrd is open for an initrd. One of kdx's is read once: its own sum says whether it is whole and which it is.
func (h *Host) openInitrd(ctx context.Context, path string, known File) (*opened, error) {
	o, err := h.openOnly(path)
	if err != nil {
		return nil, err
	}
	same := o.is(known)
	if o.archive, err = h.Archive(o.file, o.Size, !same); err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	} else if o.SHA256 = o.archive.SHA256; same {
		o.SHA256 = known.SHA256
	} else if o.SHA256 == "" {
		err = o.sum(ctx)
	}
	if err != nil {
		o.file.Close()
		return nil, err
	}
	return o, nil
}

// sum reads the file whole.
func (o *opened) sum(ctx context.Context) error {
	var err error
	if o.SHA256, err = hashOf(ctx, o.file, o.Size); err != nil {
		return fmt.Errorf("reading %s: %w", o.Path, err)
	}
	return nil
}

// hashOf reads a file of that many bytes whole, its SHA-256 in hexadecimal.
func hashOf(ctx context.Context, f *os.File, size int64) (string, error) {
	sum := sha256.New()
	buf := make([]byte, 128<<10)
	var n int64
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		k, err := f.ReadAt(buf, n)
		sum.Write(buf[:k])
		n += int64(k)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
	}
	if n != size {
		return "", fmt.Errorf("it has %d bytes now and had %d: somebody is writing it", n, size)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// differs says, without reading it, why a file can't be the one that was loaded; "" if it may be.
func (h *Host) differs(f File, loaded time.Time) string {
	fi, err := os.Stat(h.path(f.Path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "is gone"
	case err != nil:
		return "can't be looked at: " + err.Error()
	case fi.Size() != f.Size || fi.ModTime().After(loaded.Add(time.Second)):
		return "was changed since it was loaded"
	}
	return ""
}
