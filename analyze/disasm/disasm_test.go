package disasm_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"kdx/analyze/disasm"
)

// The texts are what objdump 2.44 prints for these bytes.
func TestDecode(t *testing.T) {
	for _, tc := range []struct{ code, want string }{
		{"f30f1efa", "endbr64"},
		{"0f1f440000", "nopl   0x0(%rax,%rax,1)"},
		{"662e0f1f840000000000", "cs nopw 0x0(%rax,%rax,1)"},
		{"66662e0f1f840000000000", "data16 cs nopw 0x0(%rax,%rax,1)"},
		{"6690", "xchg   %ax,%ax"},
		{"90", "nop"},
		{"53", "push   %rbx"},
		{"ff7370", "push   0x70(%rbx)"},
		{"c3", "ret"},
		{"cc", "int3"},
		{"0f0b", "ud2"},
		{"e8f3efffff", "call   0xffffffff81000ff8 <f+8>"},
		{"eb10", "jmp    0xffffffff81002012 <f+12>"},
		{"488d3d6af4ffff", "lea    -0xb96(%rip),%rdi        # 0xffffffff81001471 <f+1>"},
		{"65488b1daea1d972", "mov    %gs:0x72d9a1ae(%rip),%rbx        # 0xfffffffff3d9c1b6"},
		{"b9300101c0", "mov    $0xc0010130,%ecx"},
		{"4883e5fd", "and    $0xfffffffffffffffd,%rbp"},
		{"83e0ef", "and    $0xffffffef,%eax"},
		{"48b890a895e110000000", "movabs $0x10e195a890,%rax"},
		{"4863c6", "movslq %esi,%rax"},
		{"8b4c0f10", "mov    0x10(%rdi,%rcx,1),%ecx"},
		{"488d0cf500000000", "lea    0x0(,%rsi,8),%rcx"},
		{"492b0424", "sub    (%r12),%rax"},
		{"4a8b14fd204e5682", "mov    -0x7da9b1e0(,%r15,8),%rdx"},
		{"8b042500d35fff", "mov    0xffffffffff5fd300,%eax"},
		{"49d1ec", "shr    $1,%r12"},
		{"689aa20481", "push   $0xffffffff8104a29a"},
		{"f0480fb11e", "lock cmpxchg %rbx,(%rsi)"},
		{"0f01d0", "xgetbv"},
		{"0f01c1", "vmcall"},
		{"0f01d9", "vmmcall"},
		{"0f01ca", "clac"},
		{"0f01cb", "stac"},
		{"0f01e8", "serialize"},
		{"0f01cf", "encls"},
		{"f30f01d9", "vmgexit"},
		{"480fc7f2", "rdrand %rdx"},
		{"480fc7f8", "rdseed %rax"},
		{"f20f00f7", "lkgs   %edi"},
		{"66480f38f545f8", "wrussq %rax,-0x8(%rbp)"},
		{"06", "(bad)"},
		{"660f", "(bad)"},
		{"e8", "(bad)"},
	} {
		code, err := hex.DecodeString(tc.code)
		if err != nil {
			t.Fatal(err)
		}
		in := disasm.Decode(code, 0xffffffff81002000)
		got := in.Annotated(func(a uint64) string {
			switch a {
			case 0xffffffff81000ff8:
				return "f+8"
			case 0xffffffff81001471:
				return "f+1"
			case 0xffffffff81002012:
				return "f+12"
			}
			return ""
		})
		if got != tc.want {
			t.Errorf("Decode(%s) = %q; want %q", tc.code, got, tc.want)
		}
		if !in.Bad && len(in.Bytes) != len(code) {
			t.Errorf("Decode(%s) takes %d bytes; want %d", tc.code, len(in.Bytes), len(code))
		}
	}
}

// Whatever the bytes, decoding goes on: each instruction takes at least one byte and at most what there is.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"f30f1efa", "62f17c4858c0", "66480f38f545f8", "c5f877", "f0f0f0f0", "0f38", "660f"} {
		b, _ := hex.DecodeString(s)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, code []byte) {
		for len(code) > 0 {
			in := disasm.Decode(code, 0xffffffff81000000)
			if len(in.Bytes) == 0 || len(in.Bytes) > len(code) || !bytes.HasPrefix(code, in.Bytes) || in.Text == "" {
				t.Fatalf("Decode(%x) = %+v", code, in)
			}
			if strings.ContainsAny(in.Text, "\n\t") {
				t.Fatalf("Decode(%x): text %q", code, in.Text)
			}
			code = code[len(in.Bytes):]
		}
	})
}
