package save

import (
	"context"

	"kdx/dumpfmt"
	"kdx/internal/codec"
)

// samples of pages tell how well they compress.
const samples = 512

// fits looks whether the pages that were chosen fit the target.
func (a *attempt) fits(ctx context.Context, pages dumpfmt.Pages) error {
	room, known, err := a.dir.Room(ctx)
	if err != nil || !known {
		return err
	}
	size := a.src.img.Info().PageSize
	head := a.headBytes(pages.Len())
	if head+pages.Len()*size <= room {
		return nil
	}
	need, err := a.estimate(ctx, pages)
	if err != nil {
		return err
	}
	a.Log.Info("room was counted", "pages", pages.Len(), "bytes", need, "room", room)
	if need > room {
		return &errNoRoom{need, room}
	}
	return nil
}

// headBytes are those in front of the pages: headers, two bitmaps, a descriptor of 24 bytes a page.
func (a *attempt) headBytes(pages uint64) uint64 {
	return 64<<10 + a.src.img.Info().MaxPFN/4 + 24*pages
}

// estimate compresses some of the pages, spread over all.
func (a *attempt) estimate(ctx context.Context, pages dumpfmt.Pages) (uint64, error) {
	kind, err := codec.Parse(a.Codec)
	if err != nil {
		return 0, err
	}
	enc, err := codec.NewEncoder(kind, a.CodecLevel)
	if err != nil {
		return 0, err
	}
	size := a.src.img.Info().PageSize
	page, out := make([]byte, size), []byte(nil)
	step := max(1, pages.Len()/samples)
	at, n, bytes := uint64(0), uint64(0), uint64(0)
	for pfn := range pages.All() {
		if at++; at%step != 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n++
		if a.src.img.Source().ReadPage(page, pfn) != nil || zeros(page) {
			continue
		}
		if out, _, err = enc.Encode(out[:0], page); err != nil {
			return 0, err
		}
		bytes += uint64(min(len(out), int(size)))
	}
	if err := dumpfmt.PagesErr(pages); err != nil || n == 0 {
		return 0, err
	}
	return a.headBytes(pages.Len()) + bytes*pages.Len()/n, nil
}

func zeros(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
