package dwarfinfo

import (
	"debug/dwarf"
	"fmt"
)

// Form is how an attribute's value is written, DW_FORM_*.
type Form uint16

// The forms of DWARF 5, table 7.6, and GNU's of split and dwz files.
const (
	FormAddr          Form = 0x01
	FormBlock2        Form = 0x03
	FormBlock4        Form = 0x04
	FormData2         Form = 0x05
	FormData4         Form = 0x06
	FormData8         Form = 0x07
	FormString        Form = 0x08
	FormBlock         Form = 0x09
	FormBlock1        Form = 0x0a
	FormData1         Form = 0x0b
	FormFlag          Form = 0x0c
	FormSdata         Form = 0x0d
	FormStrp          Form = 0x0e
	FormUdata         Form = 0x0f
	FormRefAddr       Form = 0x10
	FormRef1          Form = 0x11
	FormRef2          Form = 0x12
	FormRef4          Form = 0x13
	FormRef8          Form = 0x14
	FormRefUdata      Form = 0x15
	FormIndirect      Form = 0x16
	FormSecOffset     Form = 0x17
	FormExprloc       Form = 0x18
	FormFlagPresent   Form = 0x19
	FormStrx          Form = 0x1a
	FormAddrx         Form = 0x1b
	FormRefSup4       Form = 0x1c
	FormStrpSup       Form = 0x1d
	FormData16        Form = 0x1e
	FormLineStrp      Form = 0x1f
	FormRefSig8       Form = 0x20
	FormImplicitConst Form = 0x21
	FormLoclistx      Form = 0x22
	FormRnglistx      Form = 0x23
	FormRefSup8       Form = 0x24
	FormStrx1         Form = 0x25
	FormStrx2         Form = 0x26
	FormStrx3         Form = 0x27
	FormStrx4         Form = 0x28
	FormAddrx1        Form = 0x29
	FormAddrx2        Form = 0x2a
	FormAddrx3        Form = 0x2b
	FormAddrx4        Form = 0x2c
	FormGNUAddrIndex  Form = 0x1f01
	FormGNUStrIndex   Form = 0x1f02
	FormGNURefAlt     Form = 0x1f20
	FormGNUStrpAlt    Form = 0x1f21
)

// Attributes that package debug/dwarf has no name for.
const (
	attrGNURangesBase dwarf.Attr = 0x2132
	attrGNUAddrBase   dwarf.Attr = 0x2133
)

// maxIndirect bounds forms that name another form.
const maxIndirect = 4

// value reads a field's value.
func (b *buf) value(f *Field, u *Unit, implicit int64) {
	for range maxIndirect {
		switch f.Form {
		case FormAddr:
			f.Val = b.addr()
		case FormData1, FormFlag, FormStrx1, FormAddrx1:
			f.Val = uint64(b.u8())
		case FormData2, FormStrx2, FormAddrx2:
			f.Val = uint64(b.u16())
		case FormStrx3, FormAddrx3:
			f.Val = uint64(b.u24())
		case FormData4, FormStrx4, FormAddrx4, FormRefSup4:
			f.Val = uint64(b.u32())
		case FormData8, FormRefSig8, FormRefSup8:
			f.Val = b.u64()
		case FormUdata, FormStrx, FormAddrx, FormLoclistx, FormRnglistx, FormGNUAddrIndex, FormGNUStrIndex:
			f.Val = b.uleb()
		case FormSdata:
			f.Val = uint64(b.sleb())
		case FormImplicitConst:
			f.Val = uint64(implicit)
		case FormFlagPresent:
			f.Val = 1
		case FormRef1:
			f.Val = u.Off + uint64(b.u8())
		case FormRef2:
			f.Val = u.Off + uint64(b.u16())
		case FormRef4:
			f.Val = u.Off + uint64(b.u32())
		case FormRef8:
			f.Val = u.Off + b.u64()
		case FormRefUdata:
			f.Val = u.Off + b.uleb()
		case FormRefAddr:
			if u.Version == 2 {
				f.Val = b.addr()
			} else {
				f.Val = b.offset()
			}
		case FormStrp, FormLineStrp, FormSecOffset, FormStrpSup, FormGNURefAlt, FormGNUStrpAlt:
			f.Val = b.offset()
		case FormString:
			f.Block = b.cstring()
		case FormBlock1:
			f.Block = b.take(uint64(b.u8()))
		case FormBlock2:
			f.Block = b.take(uint64(b.u16()))
		case FormBlock4:
			f.Block = b.take(uint64(b.u32()))
		case FormBlock, FormExprloc:
			f.Block = b.take(b.uleb())
		case FormData16:
			f.Block = b.take(16)
		case FormIndirect:
			f.Form = Form(b.uleb())
			if f.Form == FormImplicitConst {
				implicit = b.sleb()
			}
			continue
		default:
			if b.err == nil {
				b.err = fmt.Errorf("form %#x is not known", uint16(f.Form))
			}
		}
		return
	}
	b.err = fmt.Errorf("forms that name each other")
}
