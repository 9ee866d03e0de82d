#include "engine/kvm_probe_guest.h"

#include <cstring>

// What an ordinary 64-bit kernel does early on. %rdi: aligned scratch, %rsi: which optional
// instructions to use, %rbx: the progress byte, %r15d: the sum. Any exception but the breakpoint
// ends in a triple fault, since the interrupt table has no other entry.
asm(R"(
  .pushsection .rodata
  .globl hako_probe_code, hako_probe_handler, hako_probe_end
hako_probe_code:
  xorl %r15d, %r15d

  movb $1, (%rbx)
  xorl %eax, %eax
  xorl %edx, %edx
  xorl %ecx, %ecx
  pushq %rbx
  movl $0x1234, %ebx
  lock cmpxchg16b (%rdi)
  popq %rbx
  addl (%rdi), %r15d

  movb $2, (%rbx)
  movl $0x3f800000, %eax
  movd %eax, %xmm0
  movaps %xmm0, %xmm1
  addps %xmm1, %xmm0
  movd %xmm0, %eax
  addl %eax, %r15d

  movb $3, (%rbx)
  fxsave 0x400(%rdi)
  fxrstor 0x400(%rdi)

  testl $1, %esi
  jz 1f
  movb $4, (%rbx)
  xorl %ecx, %ecx
  xgetbv
  movb $5, (%rbx)
  movl $3, %eax
  xorl %edx, %edx
  xsetbv
  xsave 0x800(%rdi)
  movb $6, (%rbx)
  xrstor 0x800(%rdi)
  addl $0x100, %r15d
1:
  testl $2, %esi
  jz 1f
  movb $7, (%rbx)
  movl $0xff00, %eax
  popcntl %eax, %eax
  addl %eax, %r15d
1:
  testl $4, %esi
  jz 1f
  movb $8, (%rbx)
  rdtscp
  addl $0x200, %r15d
1:
  testl $8, %esi
  jz 1f
  movb $9, (%rbx)
  stac
  clac
  addl $0x400, %r15d
1:
  movb $10, (%rbx)
  int3

  movb $11, (%rbx)
  movq %cr3, %rax
  movq %rax, %cr3

  movb $12, (%rbx)
  movl $1000000, %ecx
  movl $1, %eax
1:
  imull $1103515245, %eax, %eax
  addl %ecx, %eax
  decl %ecx
  jnz 1b
  addl %eax, %r15d

  movb $13, (%rbx)
  movl %r15d, %eax
  movw $0x80, %dx
1:
  outl %eax, %dx
  jmp 1b

hako_probe_handler:
  addl $0x800, %r15d
  iretq
hako_probe_end:
  .popsection
)");

extern "C" {
extern const uint8_t hako_probe_code[];
extern const uint8_t hako_probe_handler[];
extern const uint8_t hako_probe_end[];
}

namespace hako::engine {

namespace {

// Guest addresses. One page table entry maps all of the memory.
constexpr uint64_t kPml4 = 0x1000, kPdpt = 0x2000, kPd = 0x3000;
constexpr uint64_t kGdt = 0x4000, kIdt = 0x5000, kStackTop = 0x7000;
constexpr uint64_t kScratch = 0x8000, kCode = 0x10000;
constexpr uint16_t kCodeSelector = 8, kDataSelector = 16;

constexpr uint32_t kUseXsave = 1, kUsePopcnt = 2, kUseRdtscp = 4, kUseSmap = 8;

void store(uint8_t* memory, uint64_t address, uint64_t value) {
  std::memcpy(memory + address, &value, sizeof value);
}

kvm_segment segment(uint16_t selector, bool code) {
  kvm_segment result{};
  result.limit = 0xffffffff;
  result.selector = selector;
  result.type = code ? 11 : 3;
  result.present = 1;
  result.s = 1;
  result.l = code;
  result.db = !code;
  result.g = 1;
  return result;
}

}  // namespace

void prepare_probe_guest(uint8_t* memory, const ProbeFeatures& features, kvm_sregs& system,
                         kvm_regs& general) {
  store(memory, kPml4, kPdpt | 3);
  store(memory, kPdpt, kPd | 3);
  store(memory, kPd, 0x83);  // present, writable, 2 MiB
  store(memory, kGdt + kCodeSelector, 0x00af9b000000ffff);
  store(memory, kGdt + kDataSelector, 0x00cf93000000ffff);
  uint64_t handler = kCode + static_cast<uint64_t>(hako_probe_handler - hako_probe_code);
  constexpr uint64_t kInterruptGate = 0x8e00;
  store(memory, kIdt + 3 * 16,
        (handler & 0xffff) | uint64_t{kCodeSelector} << 16 | kInterruptGate << 32 |
            (handler >> 16 & 0xffff) << 48);
  std::memcpy(memory + kCode, hako_probe_code,
              static_cast<size_t>(hako_probe_end - hako_probe_code));

  constexpr uint64_t kCr0 = 0x80000033;            // PG NE ET MP PE
  constexpr uint64_t kCr4 = 0x20 | 0x200 | 0x400;  // PAE OSFXSR OSXMMEXCPT
  constexpr uint64_t kCr4Xsave = 0x40000, kCr4Smap = 0x200000;
  system.cr0 = kCr0;
  system.cr3 = kPml4;
  system.cr4 = kCr4 | (features.xsave ? kCr4Xsave : 0) | (features.smap ? kCr4Smap : 0);
  system.efer = 0x500;  // LMA LME
  system.cs = segment(kCodeSelector, true);
  system.ds = system.es = system.fs = system.gs = system.ss = segment(kDataSelector, false);
  system.gdt.base = kGdt;
  system.gdt.limit = 23;
  system.idt.base = kIdt;
  system.idt.limit = 4 * 16 - 1;

  general.rip = kCode;
  general.rsp = kStackTop;
  general.rflags = 2;
  general.rdi = kScratch;
  general.rbx = kProbeProgress;
  general.rsi = (features.xsave ? kUseXsave : 0) | (features.popcnt ? kUsePopcnt : 0) |
                (features.rdtscp ? kUseRdtscp : 0) | (features.smap ? kUseSmap : 0);
}

uint32_t expected_probe_sum(const ProbeFeatures& features) {
  uint32_t sum = 0x1234;  // cmpxchg16b stored it
  sum += 0x40000000;      // 1.0f + 1.0f
  if (features.xsave) sum += 0x100;
  if (features.popcnt) sum += 8;
  if (features.rdtscp) sum += 0x200;
  if (features.smap) sum += 0x400;
  sum += 0x800;  // the breakpoint handler
  uint32_t value = 1;
  for (uint32_t count = 1'000'000; count > 0; --count) value = value * 1103515245 + count;
  return sum + value;
}

const char* probe_step_name(int progress) {
  switch (progress) {
    case 0:
      return "the first instruction";
    case 1:
      return "lock cmpxchg16b";
    case 2:
      return "addps";
    case 3:
      return "fxrstor";
    case 4:
      return "xgetbv";
    case 5:
      return "xsave";
    case 6:
      return "xrstor";
    case 7:
      return "popcnt";
    case 8:
      return "rdtscp";
    case 9:
      return "stac";
    case 10:
      return "int3";
    case 11:
      return "a write of cr3";
    case 12:
      return "a loop of a million rounds";
    default:
      return "a port write";
  }
}

}  // namespace hako::engine
