package printk

import (
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

// maxAudit bounds the queue: audit_backlog_limit is 64 by default, and some thousands where auditing is heavy.
const maxAudit = 1 << 20

type skb struct {
	Next vmem.Addr `k:"next"`
	Data vmem.Addr `k:"data"`
	Len  uint32    `k:"len"`
}

// Audit are the messages in the kernel's audit queues that user space had not yet fetched, oldest first; names of the
// queues since 4.10, audit_skb_queue before.
func Audit(v *kernel.View) ([]string, error) {
	var out []string
	found := false
	for _, name := range []string{"audit_queue", "audit_retry_queue", "audit_hold_queue", "audit_skb_queue", "audit_skb_hold_queue"} {
		sym, err := v.Symbol(name)
		if err != nil {
			continue
		}
		found = true
		texts, err := auditQueue(v, vmem.Addr(sym.Addr))
		v.Gap(name, err)
		out = append(out, texts...)
	}
	if !found {
		return nil, fmt.Errorf("this kernel has no audit queue (CONFIG_AUDIT)")
	}
	return out, nil
}

func auditQueue(v *kernel.View, head vmem.Addr) ([]string, error) {
	bind, err := kernel.Bind[skb](v.Kernel, "sk_buff")
	if err != nil {
		return nil, err
	}
	p, err := v.Word(head) // sk_buff_head starts with next, as sk_buff does
	if err != nil {
		return nil, err
	}
	var out []string
	seen := make(map[vmem.Addr]bool)
	for at := vmem.Addr(p); at != head && at != 0; {
		if seen[at] || len(out) > maxAudit {
			return out, fmt.Errorf("the queue loops at %#x", uint64(at))
		}
		seen[at] = true
		s, err := bind.Read(v, at)
		if err != nil {
			return out, err
		}
		text, err := auditText(v, &s)
		if err != nil {
			return out, err
		}
		out = append(out, text)
		at = s.Next
	}
	return out, nil
}

// auditText is what follows the netlink header (16 bytes; its type is the audit message's) in a buffer's data.
func auditText(v *kernel.View, s *skb) (string, error) {
	const header, limit = 16, 16 << 10 // MAX_AUDIT_MESSAGE_LENGTH is 8970
	if s.Len < header {
		return "", nil
	}
	b := make([]byte, min(s.Len, limit))
	if err := v.Read(b, s.Data); err != nil {
		return "", err
	}
	return fmt.Sprintf("type=%d %s", v.ByteOrder().Uint16(b[4:]), cstring(b[header:])), nil
}
