package view

import (
	"bytes"
	"encoding/json"
	"io"
)

// TaskObjects is the task command: each task's task_struct, or members of it.
type TaskObjects []TaskObject

// TaskObject is one task's.
type TaskObject struct {
	TaskHeader
	Object *Objects
}

// MarshalJSON is the header's members and "object", as struct gives it.
func (t TaskObject) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	if err := t.Object.StreamJSON(&b); err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		TaskHeader
		Object json.RawMessage `json:"object"`
	}{t.TaskHeader, b.Bytes()})
}

// Text writes each object under its task's header.
func (t TaskObjects) Text(w io.Writer, o Options) error {
	for i := range t {
		sep := ""
		if i > 0 {
			sep = "\n"
		}
		if _, err := io.WriteString(w, sep+t[i].line()); err != nil {
			return err
		}
		if err := t[i].Object.Text(w, o); err != nil {
			return err
		}
	}
	return nil
}
