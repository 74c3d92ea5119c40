package target

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
)

// counting counts reads, and fails every so often.
type counting struct {
	bytes.Reader
	reads, failEvery int
}

var errLink = errors.New("the link is down")

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	if c.reads++; c.failEvery > 0 && c.reads%c.failEvery == 0 {
		clear(p)
		return 0, errLink
	}
	return c.Reader.ReadAt(p, off)
}

// TestBlocks reads pieces of any size at any place, past the end too, while reads fail now and then.
func TestBlocks(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	file := make([]byte, 20*blockSize+77)
	for i := range file {
		file[i] = byte(r.Uint32())
	}
	for _, failEvery := range []int{0, 5} {
		c := &counting{Reader: *bytes.NewReader(file), failEvery: failEvery}
		b := &blocks{r: c}
		for range 2000 {
			p := make([]byte, r.IntN(3*blockSize/2))
			off := int64(r.IntN(len(file) + 1000))
			n, err := b.ReadAt(p, off)
			if errors.Is(err, errLink) && failEvery > 0 {
				continue
			}
			want := file[min(int(off), len(file)):min(int(off)+len(p), len(file))]
			if !bytes.Equal(p[:n], want) || (n < len(p)) != errors.Is(err, io.EOF) {
				t.Fatalf("%d bytes at %d: %d, %v; want %d", len(p), off, n, err, len(want))
			}
		}
		if len(b.kept) > mostBlocks {
			t.Errorf("%d blocks are kept", len(b.kept))
		}
	}
}

// TestBlocksFew: pages one behind the other cost few reads, also for readers beside each other.
func TestBlocksFew(t *testing.T) {
	const pages = 256
	c := &counting{Reader: *bytes.NewReader(make([]byte, pages<<12))}
	b := &blocks{r: c}
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() {
			for i := range int64(pages) {
				if _, err := b.ReadAt(make([]byte, 4096), i<<12); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if most := 3 * pages << 12 / blockSize; c.reads > most {
		t.Errorf("%d reads; want at most %d", c.reads, most)
	}
}
