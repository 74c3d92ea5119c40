package target

import (
	"errors"
	"io"
	"slices"
	"sync"
)

const (
	// blockSize is read at once of a file on another host, in packets that are under way together: a page would cost a round trip.
	blockSize = 4 * sftpPacket
	// mostBlocks are kept, of which the one unused for longest goes: 1.5 MiB.
	mostBlocks = 12
)

// blocks is a file that is dear to read in small pieces. It is for several readers at once.
type blocks struct {
	r     io.ReaderAt
	mu    sync.Mutex
	kept  []block // the last one was used last
	spare []byte
}

type block struct {
	at   int64
	data []byte // shorter than blockSize at the file's end
}

func (b *blocks) ReadAt(p []byte, off int64) (int, error) {
	if len(p) > blockSize {
		return b.r.ReadAt(p, off)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for n < len(p) {
		at := off + int64(n)
		data, err := b.block(at &^ (blockSize - 1))
		if err != nil {
			return n, err
		}
		in := at & (blockSize - 1)
		if in >= int64(len(data)) {
			return n, io.EOF
		}
		n += copy(p[n:], data[in:])
	}
	return n, nil
}

// block is the data that begins at at.
func (b *blocks) block(at int64) ([]byte, error) {
	if i := slices.IndexFunc(b.kept, func(k block) bool { return k.at == at }); i >= 0 {
		k := b.kept[i]
		b.kept = append(slices.Delete(b.kept, i, i+1), k)
		return k.data, nil
	}
	buf := b.spare
	b.spare = nil
	switch {
	case buf != nil:
	case len(b.kept) == mostBlocks:
		buf = b.kept[0].data[:blockSize]
		b.kept = slices.Delete(b.kept, 0, 1)
	default:
		buf = make([]byte, blockSize)
	}
	n, err := b.r.ReadAt(buf, at)
	if err != nil && !errors.Is(err, io.EOF) {
		b.spare = buf // what came of it is not known to be the file's
		return nil, err
	}
	b.kept = append(b.kept, block{at, buf[:n]})
	return buf[:n], nil
}
