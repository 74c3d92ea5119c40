package dumptest

import "kdx/dumpfmt"

// Plain is the image as formats hold it that know neither zero nor excluded pages: every page is there, those without
// bytes as zeros.
func (im *Image) Plain() *Image {
	out := *im
	out.Pages = make(map[uint64]Page, len(im.Pages))
	for pfn, p := range im.Pages {
		if p.Data == nil {
			p.Data = make([]byte, im.PageSize)
		}
		out.Pages[pfn] = Page{State: dumpfmt.Present, Data: p.Data}
	}
	return &out
}

// run is pages without a gap.
type run struct{ pfn, pages uint64 }

func (im *Image) runs() []run {
	var out []run
	for _, pfn := range im.PFNs() {
		if n := len(out); n > 0 && out[n-1].pfn+out[n-1].pages == pfn {
			out[n-1].pages++
			continue
		}
		out = append(out, run{pfn, 1})
	}
	return out
}

// bytes of all pages, one behind the other.
func (im *Image) bytes() []byte {
	out := make([]byte, 0, len(im.Pages)*im.PageSize)
	for _, pfn := range im.PFNs() {
		page := im.Pages[pfn].Data
		if page == nil {
			page = make([]byte, im.PageSize)
		}
		out = append(out, page...)
	}
	return out
}
