package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// ErrEmpty says that a raw partition holds no dump of kdx.
var ErrEmpty = errors.New("no dump of kdx lies there")

// Extracted is what Extract took from a raw partition.
type Extracted struct {
	Dir   string   `json:"dir"`
	Path  string   `json:"path"`
	Files []string `json:"files"`
	// Damaged are files whose bytes are not those that were saved; they are called NAME.incomplete.
	Damaged []string `json:"damaged"`
	Bytes   int64    `json:"bytes"`
}

// Extract copies the dump on a raw partition into a directory below dir, holds each file against its sum, and marks the
// partition as empty. keep leaves it as it is. The error wraps ErrEmpty if there is nothing.
func Extract(ctx context.Context, device, dir string, keep bool, progress func(name string, done, total int64)) (Extracted, error) {
	out := Extracted{Files: []string{}, Damaged: []string{}}
	flags := os.O_RDWR
	if keep {
		flags = os.O_RDONLY
	}
	dev, size, err := openDevice(device, flags)
	if err != nil {
		return out, err
	}
	defer dev.Close()
	index, err := readIndex(dev, size)
	if err != nil {
		return out, fmt.Errorf("%s: %w", device, err)
	}
	if index == nil || index.Dump == "" {
		return out, fmt.Errorf("%s: %w", device, ErrEmpty)
	}
	r := &raw{place: Place{Name: "raw:" + device, Device: device}, dev: dev, size: size, index: index}
	dst, err := extractInto(ctx, dir, index.Dump)
	if err != nil {
		return out, err
	}
	defer dst.Close()
	out.Dir, out.Path = index.Dump, dst.Path()
	for _, e := range index.Files {
		whole, err := copyOut(ctx, &rawDir{r}, e, dst, progress)
		if err != nil {
			return out, fmt.Errorf("extracting %s: %w; %s still holds it", e.Name, err, device)
		}
		out.Bytes += e.Size
		if whole {
			out.Files = append(out.Files, e.Name)
		} else {
			out.Damaged = append(out.Damaged, e.Name)
		}
	}
	if keep {
		return out, nil
	}
	return out, r.empty()
}

// extractInto makes the directory, beside one that an extraction left that did not come to its end.
func extractInto(ctx context.Context, dir, name string) (Dir, error) {
	t, err := openLocal(Place{Name: dir, Dir: dir})
	if err != nil {
		return nil, err
	}
	for n := 1; ; n++ {
		try := name
		if n > 1 {
			try = fmt.Sprintf("%s-%d", name, n)
		}
		d, err := t.Create(ctx, try)
		if !errors.Is(err, ErrExists) || n == 100 {
			return d, err
		}
	}
}

// copyOut copies one file. It is whole if it is what was saved.
func copyOut(ctx context.Context, src *rawDir, e IndexFile, dst Dir, progress func(string, int64, int64)) (whole bool, err error) {
	name := e.Name
	if e.SHA256 == "" {
		name = strings.TrimSuffix(name, Incomplete)
	}
	f, err := dst.Create(ctx, name)
	if err != nil {
		return false, err
	}
	x := f.(*localFile)
	r := io.NewSectionReader(src.r.dev, e.Offset, e.Size)
	buf := make([]byte, compareBuffer)
	for done := int64(0); done < e.Size; {
		n, err := r.ReadAt(buf[:min(int64(len(buf)), e.Size-done)], done)
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			_, err = x.Write(buf[:n])
		}
		if err != nil {
			x.File.Close()
			return false, err
		}
		if done += int64(n); progress != nil {
			progress(e.Name, done, e.Size)
		}
	}
	if e.SHA256 == "" {
		return false, x.Leave(ctx)
	}
	if err := x.flush(); err != nil {
		return false, err
	}
	w, err := x.readBack(ctx)
	if err != nil || w.SHA256 != e.SHA256 {
		return false, err
	}
	return true, errors.Join(os.Rename(x.path+Incomplete, x.path), syncDir(dst.Path()))
}
