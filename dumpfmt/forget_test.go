package dumpfmt

import "testing"

// counting is a source whose pages say how often they were read: memory that changes.
type counting struct {
	info Info
	n    byte
}

func (c *counting) Info() *Info            { return &c.info }
func (c *counting) State(uint64) PageState { return Present }
func (c *counting) Close() error           { return nil }
func (c *counting) ReadPage(dst []byte, _ uint64) error {
	c.n++
	dst[0] = c.n
	return nil
}

// TestForget: within a command a page stays as it was first read, the next command reads it anew.
func TestForget(t *testing.T) {
	im := NewImage(&counting{info: Info{PageSize: 4096, Live: true}}, Options{})
	var got []byte
	for range 2 {
		for range 2 {
			p, err := im.Page(1)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, p[0])
		}
		im.Forget()
	}
	if string(got) != "\x01\x01\x02\x02" {
		t.Errorf("pages read %v; want 1 1 2 2", got)
	}
}
