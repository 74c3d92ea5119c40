package initd

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"sync"
)

// reportFD is where a stage finds the pipe to PID 1.
const reportFD = 3

// maxReport bounds what PID 1 reads of one stage's reports.
const maxReport = 256 << 10

// report is a line on the pipe. A broken one is text that is lost, nothing more: the exit status says how a stage ended.
type report struct {
	// At is what the stage is doing, so that a stage that hangs or dies can be described.
	At string `json:"at,omitempty"`
	// Error is why it failed.
	Error string `json:"error,omitempty"`
	// Written is the directory of a dump that lies there whole but is not proven yet.
	Written string `json:"written,omitempty"`
	// Result is what the stage found out, for later stages.
	Result json.RawMessage `json:"result,omitempty"`
}

// reporter is the stage's end of the pipe.
type reporter struct {
	mu sync.Mutex
	w  io.Writer
}

func openReporter() *reporter {
	return &reporter{w: os.NewFile(reportFD, "report")}
}

func (r *reporter) send(v report) {
	line, err := json.Marshal(v)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.w.Write(append(line, '\n'))
}

// written says that all of the dump was written.
func (r *reporter) written(dir string) { r.send(report{Written: dir}) }

// At says what the stage is doing now.
func (r *reporter) At(what string) { r.send(report{At: what}) }

// reports collects what a stage says; the last word of each kind counts.
type reports struct {
	mu      sync.Mutex
	last    report
	written func(dir string) // nil if nobody wants to know
}

// read takes lines until the pipe ends. Beyond maxReport it only drains, so that the stage does not stand still.
func (r *reports) read(pipe io.Reader) {
	br := bufio.NewReaderSize(io.LimitReader(pipe, maxReport), 4096)
	for {
		line, err := br.ReadBytes('\n')
		var v report
		if err == nil && json.Unmarshal(line, &v) == nil {
			r.mu.Lock()
			written := r.written
			if v.At != "" {
				r.last.At = v.At
			}
			if v.Error != "" {
				r.last.Error = v.Error
			}
			if v.Result != nil {
				r.last.Result = v.Result
			}
			r.mu.Unlock()
			if v.Written != "" && written != nil {
				written(v.Written)
			}
		}
		if err != nil {
			break
		}
	}
	io.Copy(io.Discard, pipe)
}

// onWritten has f called from now on with each directory of a dump that was written.
func (r *reports) onWritten(f func(dir string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written = f
}

func (r *reports) get() report {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}
