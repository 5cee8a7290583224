//! Tile instructions from their bytes: a VEX prefix of three bytes, map 0F38, and memory as the general registers say where it is.

/// A place for the rows of a tile: row `r` is at `start + r * stride`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    pub start: u64,
    pub stride: u64,
}

/// Two kinds of numbers that meet in a product of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    /// Pairs of `bf16`, added in `f32`.
    Bf16,
    /// Four bytes, added in 32 bits.
    Bytes {
        /// Whether the left ones have a sign.
        left_signed: bool,
        /// Whether the right ones have.
        right_signed: bool,
    },
}

/// A tile instruction; tiles are 0 to 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instruction {
    /// `ldtilecfg`
    LoadShapes { at: u64 },
    /// `sttilecfg`
    StoreShapes { at: u64 },
    /// `tilerelease`
    Release,
    /// `tilezero`
    Zero { tile: usize },
    /// `tileloadd`, `tileloaddt1`
    Load { tile: usize, from: Rows },
    /// `tilestored`
    Store { tile: usize, to: Rows },
    /// `tdpbf16ps`, `tdpbssd`, `tdpbsud`, `tdpbusd`, `tdpbuud`
    Multiply { product: Product, sums: usize, left: usize, right: usize },
}

/// The prefix that an instruction of old would have had.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prefix {
    None,
    Prefix66,
    PrefixF3,
    PrefixF2,
}

/// What the prefix and the byte behind the opcode say of operands.
struct Operands {
    /// How `rm` is meant: 3 for a register, else memory.
    mode: u8,
    reg: usize,
    rm: usize,
    /// The register that the prefix names.
    third: usize,
}

/// Memory that an instruction names.
struct Memory {
    rows: Rows,
    /// Whether it was named by base and index, as tiles must be.
    is_indexed: bool,
    /// Bytes of the instruction behind the byte that says how memory is named.
    length: u64,
}

/// The instruction whose bytes `byte` gives, and its length; none where it is no tile instruction. `at` is where it stands, `general` are
/// the general registers by number.
pub(crate) fn decode(byte: impl Fn(u64) -> u8, at: u64, general: &[u64; 16]) -> Option<(Instruction, u64)> {
    const THREE_BYTES: u8 = 0xc4;
    const MAP_0F38: u8 = 2;
    // The prefix's three bytes, the opcode, and the byte that says how operands are named.
    const HEAD: u64 = 5;
    if byte(0) != THREE_BYTES || byte(1) & 0x1f != MAP_0F38 {
        return None;
    }
    let (high, wide, opcode) = (!byte(1), byte(2), byte(3));
    // Neither 64-bit operands nor long vectors.
    if wide & 0x84 != 0 || !matches!(opcode, 0x49 | 0x4b | 0x5c | 0x5e) {
        return None;
    }
    let prefix = [Prefix::None, Prefix::Prefix66, Prefix::PrefixF3, Prefix::PrefixF2][usize::from(wide & 3)];
    let (index_high, base_high) = (u64::from(high >> 6 & 1) * 8, u64::from(high >> 5 & 1) * 8);
    let modes = byte(4);
    let operands = Operands {
        mode: modes >> 6,
        reg: usize::from(modes >> 3 & 7 | (high >> 7 & 1) << 3),
        rm: usize::from(modes & 7 | (high >> 5 & 1) << 3),
        third: usize::from(!wide >> 3 & 15),
    };
    if operands.mode == 3 {
        return Some((of_registers(prefix, opcode, &operands)?, HEAD));
    }
    let memory = memory(|offset| byte(HEAD + offset), (modes, index_high, base_high), at + HEAD, general);
    Some((of_memory(prefix, opcode, &operands, &memory)?, HEAD + memory.length))
}

fn of_registers(prefix: Prefix, opcode: u8, operands: &Operands) -> Option<Instruction> {
    let &Operands { reg, rm, third, .. } = operands;
    let bytes = |left_signed, right_signed| Product::Bytes { left_signed, right_signed };
    let product = match (opcode, prefix) {
        (0x49, Prefix::None) if (reg, rm, third) == (0, 0, 0) => return Some(Instruction::Release),
        (0x49, Prefix::PrefixF2) if (rm, third) == (0, 0) && reg < 8 => return Some(Instruction::Zero { tile: reg }),
        (0x5c, Prefix::PrefixF3) => Product::Bf16,
        (0x5e, Prefix::PrefixF2) => bytes(true, true),
        (0x5e, Prefix::PrefixF3) => bytes(true, false),
        (0x5e, Prefix::Prefix66) => bytes(false, true),
        (0x5e, Prefix::None) => bytes(false, false),
        _ => return None,
    };
    (reg < 8 && rm < 8 && third < 8).then_some(Instruction::Multiply { product, sums: reg, left: rm, right: third })
}

fn of_memory(prefix: Prefix, opcode: u8, operands: &Operands, memory: &Memory) -> Option<Instruction> {
    let &Operands { reg, third, .. } = operands;
    if third != 0 || (opcode == 0x4b && !(memory.is_indexed && reg < 8)) {
        return None;
    }
    match (opcode, prefix) {
        (0x49, Prefix::None) if reg == 0 => Some(Instruction::LoadShapes { at: memory.address() }),
        (0x49, Prefix::Prefix66) if reg == 0 => Some(Instruction::StoreShapes { at: memory.address() }),
        (0x4b, Prefix::PrefixF2 | Prefix::Prefix66) => Some(Instruction::Load { tile: reg, from: memory.rows }),
        (0x4b, Prefix::PrefixF3) => Some(Instruction::Store { tile: reg, to: memory.rows }),
        _ => None,
    }
}

impl Memory {
    /// Where it is when it is not rows: the index counts.
    fn address(&self) -> u64 {
        self.rows.start.wrapping_add(self.rows.stride)
    }
}

/// `behind` is the address behind the byte of modes, whose bytes `byte` gives.
fn memory(byte: impl Fn(u64) -> u8, (modes, index_high, base_high): (u8, u64, u64), behind: u64, general: &[u64; 16]) -> Memory {
    const INDEXED: u8 = 4;
    const NO_BASE: u8 = 5;
    const NO_INDEX: u64 = 4;
    let number = |at: u64| i64::from(i32::from_le_bytes([byte(at), byte(at + 1), byte(at + 2), byte(at + 3)])).cast_unsigned();
    let (mode, rm) = (modes >> 6, modes & 7);
    let is_indexed = rm == INDEXED;
    let (base, stride, length) = if is_indexed {
        let index = u64::from(byte(0) >> 3 & 7) + index_high;
        let stride = if index == NO_INDEX { 0 } else { general[index as usize] << (byte(0) >> 6) };
        (byte(0) & 7, stride, 1)
    } else {
        (rm, 0, 0)
    };
    let start = general[usize::from(base) + base_high as usize];
    let (start, length) = match (mode, base) {
        (0, NO_BASE) if is_indexed => (number(length), length + 4),
        // From the instruction behind this one.
        (0, NO_BASE) => ((behind + 4).wrapping_add(number(0)), 4),
        (0, _) => (start, length),
        (1, _) => (start.wrapping_add(i64::from(byte(length).cast_signed()).cast_unsigned()), length + 1),
        _ => (start.wrapping_add(number(length)), length + 4),
    };
    Memory { rows: Rows { start, stride }, is_indexed, length }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Option<(Instruction, u64)> {
        let general: [u64; 16] = std::array::from_fn(|register| 1000 * register as u64);
        decode(|offset| bytes[offset as usize], 0x4000, &general)
    }

    fn whole(bytes: &[u8]) -> Option<Instruction> {
        let (instruction, length) = decoded(bytes)?;
        assert_eq!(length, bytes.len() as u64, "{instruction:?}");
        Some(instruction)
    }

    /// The manual's opcodes, encoded by hand.
    #[test]
    fn opcodes_are_those_of_the_manual() {
        let rows = |start, stride| Rows { start, stride };
        let bytes = |left_signed, right_signed| Product::Bytes { left_signed, right_signed };
        let multiply = |product| Some(Instruction::Multiply { product, sums: 1, left: 2, right: 3 });
        // rax is 0, rcx 1000, rdx 2000, rbx 3000, ..
        assert_eq!(whole(&[0xc4, 0xe2, 0x78, 0x49, 0x01]), Some(Instruction::LoadShapes { at: 1000 }));
        assert_eq!(whole(&[0xc4, 0xe2, 0x79, 0x49, 0x41, 0x10]), Some(Instruction::StoreShapes { at: 1016 }));
        assert_eq!(whole(&[0xc4, 0xe2, 0x78, 0x49, 0xc0]), Some(Instruction::Release));
        assert_eq!(whole(&[0xc4, 0xe2, 0x7b, 0x49, 0xf0]), Some(Instruction::Zero { tile: 6 }));
        assert_eq!(whole(&[0xc4, 0xe2, 0x7b, 0x4b, 0x2c, 0x1f]), Some(Instruction::Load { tile: 5, from: rows(7000, 3000) }));
        assert_eq!(whole(&[0xc4, 0xe2, 0x79, 0x4b, 0x2c, 0x1f]), Some(Instruction::Load { tile: 5, from: rows(7000, 3000) }));
        assert_eq!(whole(&[0xc4, 0xe2, 0x7a, 0x4b, 0x2c, 0x1f]), Some(Instruction::Store { tile: 5, to: rows(7000, 3000) }));
        assert_eq!(whole(&[0xc4, 0xe2, 0x62, 0x5c, 0xca]), multiply(Product::Bf16));
        assert_eq!(whole(&[0xc4, 0xe2, 0x63, 0x5e, 0xca]), multiply(bytes(true, true)));
        assert_eq!(whole(&[0xc4, 0xe2, 0x62, 0x5e, 0xca]), multiply(bytes(true, false)));
        assert_eq!(whole(&[0xc4, 0xe2, 0x61, 0x5e, 0xca]), multiply(bytes(false, true)));
        assert_eq!(whole(&[0xc4, 0xe2, 0x60, 0x5e, 0xca]), multiply(bytes(false, false)));
    }

    #[test]
    fn memory_is_where_base_index_and_displacement_say() {
        let load = |start, stride| Some(Instruction::Load { tile: 3, from: Rows { start, stride } });
        // [r13 + r12*8 - 64]
        assert_eq!(whole(&[0xc4, 0x82, 0x7b, 0x4b, 0x5c, 0xe5, 0xc0]), load(13_000 - 64, 96_000));
        // [rbp + rax*2 + 2112]
        assert_eq!(whole(&[0xc4, 0xe2, 0x7b, 0x4b, 0x9c, 0x45, 0x40, 0x08, 0, 0]), load(5_000 + 2112, 0));
        // [rcx], without an index: every row is the first.
        assert_eq!(whole(&[0xc4, 0xe2, 0x7b, 0x4b, 0x1c, 0x21]), load(1_000, 0));
        // [rdx*4 + 256], without a base.
        assert_eq!(whole(&[0xc4, 0xe2, 0x7b, 0x4b, 0x1c, 0x95, 0, 1, 0, 0]), load(256, 8_000));
        // [rip - 9]: the instruction itself.
        assert_eq!(whole(&[0xc4, 0xe2, 0x78, 0x49, 0x05, 0xf7, 0xff, 0xff, 0xff]), Some(Instruction::LoadShapes { at: 0x4000 }));
    }

    #[test]
    fn what_the_manual_does_not_define_is_no_tile_instruction() {
        let undefined: [&[u8]; 9] = [
            &[0x0f, 0x0b],
            // Tile 8, by each of the three names.
            &[0xc4, 0x62, 0x62, 0x5c, 0xca],
            &[0xc4, 0xc2, 0x62, 0x5c, 0xca],
            &[0xc4, 0xe2, 0x22, 0x5c, 0xca],
            // Memory that is named without an index, and a third operand where there is none.
            &[0xc4, 0xe2, 0x7b, 0x4b, 0x2f],
            &[0xc4, 0xe2, 0x73, 0x4b, 0x2c, 0x1f],
            // 64-bit operands, long vectors, another map.
            &[0xc4, 0xe2, 0xfb, 0x4b, 0x2c, 0x1f],
            &[0xc4, 0xe2, 0x7f, 0x4b, 0x2c, 0x1f],
            &[0xc4, 0xe1, 0x7b, 0x4b, 0x2c, 0x1f],
        ];
        for bytes in undefined {
            assert_eq!(decoded(bytes), None, "{bytes:x?}");
        }
    }
}
