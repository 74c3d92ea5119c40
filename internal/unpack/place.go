package unpack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"kdx/internal/filecache"
)

// unpacking is a packed file on its way to where it is read from.
type unpacking struct {
	ctx context.Context
	packing
	in   io.ReaderAt
	info fs.FileInfo
	path string
	opt  Options
}

// open takes the file from the cache, or unpacks it.
func (u *unpacking) open() (*File, error) {
	abs, err := filepath.Abs(u.path)
	if err != nil {
		return nil, err
	}
	key := "unpacked " + abs + " " + filecache.Identity(u.info)
	c := u.opt.Cache
	if c != nil {
		f, err := c.Get(key)
		if err == nil {
			u.opt.Log.Debug("unpacked before", "file", u.path, "at", f.Name())
			return onDisk(f, f.Name())
		}
		if !errors.Is(err, fs.ErrNotExist) {
			u.opt.Log.Warn(err.Error())
		}
	}
	src, err := u.stream(u.in, u.info.Size(), u.opt.Limit)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	in := u.watch(src)
	head, err := io.ReadAll(io.LimitReader(in, inMemory))
	if err != nil {
		return nil, err
	}
	if len(head) < inMemory {
		return &File{ReaderAt: bytes.NewReader(head), Size: int64(len(head)), Data: head}, nil
	}
	in = io.MultiReader(bytes.NewReader(head), in)
	if c == nil {
		return u.toTemporary(in)
	}
	out, err := toCache(c, key, in)
	if err == nil {
		return out, nil
	}
	var place *placeError
	if !errors.As(err, &place) {
		return nil, err
	}
	u.opt.Log.Warn("the unpacked file can't be kept in the cache; the next start unpacks it again", "file", u.path, "err", place.err)
	again, err := u.stream(u.in, u.info.Size(), u.opt.Limit)
	if err != nil {
		return nil, err
	}
	defer again.Close()
	return u.toTemporary(u.watch(again))
}

// placeError: what was unpacked can't be written where it should be.
type placeError struct{ err error }

func (e *placeError) Error() string { return e.err.Error() }
func (e *placeError) Unwrap() error { return e.err }

// sink tells errors of the place from those of the packed file.
type sink struct{ io.Writer }

func (s sink) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	if err != nil {
		err = &placeError{err}
	}
	return n, err
}

const copyBuffer = 1 << 20

func toCache(c *filecache.Cache, key string, in io.Reader) (*File, error) {
	e, err := c.Create(key)
	if err != nil {
		return nil, &placeError{err}
	}
	defer e.Close()
	if _, err := io.CopyBuffer(sink{e}, in, make([]byte, copyBuffer)); err != nil {
		return nil, err
	}
	f, err := e.Commit()
	if err != nil {
		return nil, &placeError{err}
	}
	return onDisk(f, f.Name())
}

// toTemporary unpacks to a file without a name, which goes when it is closed, however the process ends.
func (u *unpacking) toTemporary(in io.Reader) (*File, error) {
	f, err := os.CreateTemp("", "kdx-unpacked-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := io.CopyBuffer(sink{f}, in, make([]byte, copyBuffer)); err != nil {
		f.Close()
		if place := (*placeError)(nil); errors.As(err, &place) {
			err = fmt.Errorf("to a temporary file: %w (TMPDIR can name another directory)", err)
		}
		return nil, err
	}
	local := ""
	if runtime.GOOS == "linux" {
		local = fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	}
	return onDisk(f, local)
}

func onDisk(f *os.File, local string) (*File, error) {
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &File{ReaderAt: f, Local: local, Size: fi.Size(), file: f}, nil
}

// watch lets reading be cancelled, and reports it.
func (u *unpacking) watch(src *Source) io.Reader { return &watched{u, src} }

type watched struct {
	u   *unpacking
	src *Source
}

func (w *watched) Read(p []byte) (int, error) {
	if err := w.u.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.src.Read(p)
	if w.u.opt.Progress != nil {
		w.u.opt.Progress(w.u.path, w.src.in.n.Load(), w.u.info.Size())
	}
	return n, err
}
