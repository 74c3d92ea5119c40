package view

import (
	"bytes"
	"encoding/json"
	"io"
)

// TaskResults are answers for several tasks, each under its task (task, foreach).
type TaskResults []TaskResult

// TaskResult is the answer for one task.
type TaskResult struct {
	TaskHeader
	Result Result
}

// MarshalJSON is the header's members and "result", the command's own form.
func (t TaskResult) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	if err := WriteJSON(&b, t.Result); err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		TaskHeader
		Result json.RawMessage `json:"result"`
	}{t.TaskHeader, b.Bytes()})
}

// Text writes each answer under its task's header.
func (t TaskResults) Text(w io.Writer, o Options) error {
	for i := range t {
		sep := ""
		if i > 0 {
			sep = "\n"
		}
		if _, err := io.WriteString(w, sep+t[i].line()); err != nil {
			return err
		}
		if err := t[i].Result.Text(w, o); err != nil {
			return err
		}
	}
	return nil
}
