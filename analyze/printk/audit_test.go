package printk

import (
	"fmt"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
)

// queue makes an audit_queue of buffers that hold the messages.
func queue(t *testing.T, messages ...string) (*kerneltest.Machine, vmem.Addr) {
	m := kerneltest.New(t, "struct sk_buff { struct sk_buff *next, *prev; unsigned int len; unsigned char *data; };")
	head := m.Alloc(24)
	m.Var("audit_queue", head, "")
	prev := head
	for _, text := range messages {
		buf, data := m.Alloc(64), m.AllocPage()
		m.Word(prev, uint64(buf))
		m.Set(buf, "sk_buff", "len", uint64(16+len(text)+1))
		m.Set(buf, "sk_buff", "data", uint64(data))
		m.Put(data+4, 2, 1300)
		m.Write(data+16, []byte(text+"\x00"))
		prev = buf
	}
	m.Word(prev, uint64(head))
	return m, prev
}

func TestAudit(t *testing.T) {
	m, _ := queue(t, "audit(1:2): one", "audit(1:3): two")
	got, err := Audit(m.View())
	if want := []string{"type=1300 audit(1:2): one", "type=1300 audit(1:3): two"}; err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Audit = %q, %v; want %q", got, err, want)
	}
	m, _ = queue(t)
	if got, err := Audit(m.View()); err != nil || len(got) != 0 {
		t.Errorf("Audit of an empty queue = %q, %v; want none", got, err)
	}
	if _, err := Audit(kerneltest.New(t, "").View()); err == nil {
		t.Error("Audit without a queue = nil; want an error")
	}
}

func TestAuditLoops(t *testing.T) {
	m, last := queue(t, "audit(1:2): one", "audit(1:3): two")
	m.Word(last, uint64(last))
	v := m.View()
	got, _ := Audit(v)
	if gaps, _ := v.Gaps(); len(got) != 2 || len(gaps) != 1 {
		t.Errorf("Audit of a queue that loops = %q with gaps %v; want both messages and a gap", got, gaps)
	}
}
