package load

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"kdx/capture/initrd"
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

// open is for a file of which nothing else is known.
func (h *Host) open(ctx context.Context, path string, known File) (*opened, error) {
	return h.openKernel(ctx, path, known, nil)
}

// openKernel opens a kernel. What the initrd that was built for it says of it makes summing it up cheap.
func (h *Host) openKernel(ctx context.Context, path string, known File, built *Archive) (*opened, error) {
	o, err := h.openOnly(path)
	if err != nil {
		return nil, err
	}
	switch {
	case o.is(known):
		o.SHA256 = known.SHA256
		return o, nil
	case built != nil && built.KernelCRC != "":
		var crc string
		if crc, err = o.sum(ctx, initrd.NewCRC()); err == nil && crc == built.KernelCRC {
			o.SHA256 = built.KernelSHA256
			return o, nil
		}
	}
	if err == nil {
		o.SHA256, err = o.sum(ctx, sha256.New())
	}
	if err != nil {
		o.file.Close()
		return nil, err
	}
	return o, nil
}

// openInitrd is open for an initrd. One of kdx's is read once: its own sum says whether it is whole and which it is.
func (h *Host) openInitrd(ctx context.Context, path string, known File) (*opened, error) {
	o, err := h.openHead(path)
	if err == nil {
		err = h.wholeInitrd(ctx, o, known)
	}
	return o, err
}

// openHead opens an initrd and looks at its head alone.
func (h *Host) openHead(path string) (*opened, error) {
	o, err := h.openOnly(path)
	if err != nil {
		return nil, err
	}
	if o.archive, err = h.Archive(o.file, o.Size, false); err != nil {
		o.file.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return o, nil
}

// wholeInitrd looks at the rest of an initrd, which it closes if that is damaged.
func (h *Host) wholeInitrd(ctx context.Context, o *opened, known File) error {
	if o.is(known) {
		o.SHA256 = known.SHA256
		return nil
	}
	var err error
	if o.archive, err = h.Archive(o.file, o.Size, true); err != nil {
		err = fmt.Errorf("%s: %w", o.Path, err)
	} else if o.SHA256 = o.archive.SHA256; o.SHA256 == "" {
		o.SHA256, err = o.sum(ctx, sha256.New())
	}
	if err != nil {
		o.file.Close()
	}
	return err
}

// sum reads the file whole: its sum in hexadecimal.
func (o *opened) sum(ctx context.Context, sum hash.Hash) (string, error) {
	buf := make([]byte, 128<<10)
	var n int64
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		k, err := o.file.ReadAt(buf, n)
		sum.Write(buf[:k])
		n += int64(k)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", fmt.Errorf("reading %s: %w", o.Path, err)
		}
	}
	if n != o.Size {
		return "", fmt.Errorf("reading %s: it has %d bytes now and had %d: somebody is writing it", o.Path, n, o.Size)
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
