// Package convert writes the pages of one dump into another: pages are read and encoded in batches of neighbours by
// several workers, and stored in order by one goroutine.
package convert

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"kdx/dumpfmt"
)

// DefaultMemory is what buffers and compressors of a Run may take, bytes.
const DefaultMemory = 32 << 20

// Job is a dump to be written.
type Job struct {
	Source dumpfmt.Source
	// Pages that the output shall hold, the same that its Writer was made with.
	Pages  dumpfmt.Pages
	Writer dumpfmt.PageWriter
	// ZeroPages leaves out pages of zeros (lowest bit of the dump level); the Writer was told so, too. A Writer that shares one
	// copy of them (dumpfmt.ZeroSharer) does that in any case: without ZeroPages they are counted as Shared.
	ZeroPages bool
	// Workers that read and encode; 0 is one a core. Fewer run if Memory is short.
	Workers int
	// Memory bounds buffers and compressors, bytes; 0 is DefaultMemory. One worker with small batches runs however small it is.
	Memory int64
	// Change may write to a page before it is encoded, and says whether it did. It is called on many goroutines. nil if
	// pages stay as they are.
	Change func(pfn uint64, page []byte) (changed bool, err error)
	// Untouched reports pages that Change never alters: they may pass without being decoded. nil is none.
	Untouched func(pfn uint64) bool
	// Progress is called by one goroutine after each batch, and must be quick; nil if nobody wants to know.
	Progress func(Progress)
}

// Progress of a Run.
type Progress struct {
	Pages, Total uint64 // done, and in all
	In, Out      int64  // bytes of memory done, and bytes of pages written for them
}

// Report is what a Run wrote.
type Report struct {
	Pages   uint64 `json:"pages"`   // in the output, also those that are missing there
	Zero    uint64 `json:"zero"`    // of them, found to hold only zeros and left out, as the level asks
	Shared  uint64 `json:"shared"`  // of them, found to hold only zeros: they are in the output, which has one copy for all
	Passed  uint64 `json:"passed"`  // handed on as they were encoded
	Changed uint64 `json:"changed"` // altered by Change
	Missing uint64 `json:"missing"` // could not be read; the output says so of each
	Unsure  uint64 `json:"unsure"`  // written as zeros, but the input can't tell zeros from pages that were left out
	In      int64  `json:"bytes_in"`
	Out     int64  `json:"bytes_out"` // of encoded pages
	// Errors are those of the first few missing pages.
	Errors []error `json:"-"`
}

// maxErrors bounds Report.Errors.
const maxErrors = 8

// Run writes all pages and closes the writer: the dump is whole if there is no error. Pages that the source can't give
// are missing in the output and counted, which is no error. If writing fails or ctx ends, the writer is told to abort, and
// the Report says what was written.
func Run(ctx context.Context, job Job) (Report, error) {
	r := newRunner(job)
	err := r.run(ctx)
	if err == nil {
		if err = job.Writer.Close(); err == nil {
			return r.report, nil
		}
		err = fmt.Errorf("finishing the dump: %w", err)
	}
	if aerr := job.Writer.Abort(); aerr != nil && !errors.Is(err, aerr) {
		err = errors.Join(err, fmt.Errorf("marking the dump as incomplete: %w", aerr))
	}
	return r.report, err
}

// Sizes of batches in bytes of memory.
const (
	largeBatch = 1 << 20
	smallBatch = 64 << 10
	// perWorker is about what a compressor's tables and a source's window take.
	perWorker = 3 << 19
	// perWriter is what the writer collects before it writes.
	perWriter = 3 << 19
)

// plan chooses workers and pages a batch so that all fits the memory: smaller batches first, then fewer workers.
func plan(memory int64, workers int, pageSize uint64) (int, int) {
	if memory == 0 {
		memory = DefaultMemory
	}
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	memory -= perWriter
	size := int64(largeBatch)
	need := func() int64 { return int64(workers) * (perWorker + batchesPerWorker*size) }
	for need() > memory && size > 4*smallBatch {
		size /= 2
	}
	for need() > memory && workers > 1 {
		workers--
	}
	for need() > memory && size > smallBatch {
		size /= 2
	}
	return workers, max(1, int(size/int64(pageSize)))
}
