/* Runs a generated network on a Cortex-M board under qemu-system-arm: rows of inputs from the file
   in.bin, rows of outputs and then the state to the file out.bin, by semihosting; what the last row
   took to cost.bin: clock ticks, and bytes of stack. Compiled with the macros of harness.c, and
   -DTICKS=address of the board's counter.

   in.bin: uint32 words: rows, inputs, bytes of each, outputs, bytes of each; then the rows.
   exit code: 0, or 3 no memory, 4 inputs end early, 5 the network refused its memory, 6 outputs can't
   be written, 7 a fault of the processor. */

#include <stddef.h>
#include <stdint.h>
#include HEADER

enum { ALIGNMENT = 64, PORTS = 32, PAINT = 0x5a };
enum { SYS_OPEN = 1, SYS_WRITE = 5, SYS_READ = 6, SYS_EXIT_EXTENDED = 0x20 };

extern char stack_low, stack_top, heap_start, heap_end, bss_start, bss_end;
int main(void);

void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
    for (size_t k = 0; k < bytes; ++k) {
        ((char *)to)[k] = ((const char *)from)[k];
        __asm__ volatile("");
    }
    return to;
}

void *memset(void *to, int value, size_t bytes)
{
    for (size_t k = 0; k < bytes; ++k) {
        ((char *)to)[k] = (char)value;
        __asm__ volatile("");
    }
    return to;
}

static int semihost(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static _Noreturn void leave(uint32_t code)
{
    const uint32_t argument[2] = {0x20026, code};
    for (;;)
        semihost(SYS_EXIT_EXTENDED, argument);
}

static void fault(void) { leave(7); }

static void begin(void)
{
#if defined(__ARM_FP) && __ARM_FP
    *(volatile uint32_t *)0xE000ED88 |= 0xF00000u; /* CPACR: the floating-point unit on */
    __asm__ volatile("dsb\n\tisb");
#endif
    for (char *p = &bss_start; p < &bss_end; ++p)
        *(volatile char *)p = 0;
    leave((uint32_t)main());
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    &stack_top, begin, fault, fault, fault, fault, fault};

static int file(const char *name, uint32_t length, uint32_t mode)
{
    const uint32_t argument[3] = {(uint32_t)(uintptr_t)name, mode, length};
    return semihost(SYS_OPEN, argument);
}

/* Whether all the bytes were moved. */
static int moved(int operation, int handle, const void *at, size_t bytes)
{
    const uint32_t argument[3] = {(uint32_t)handle, (uint32_t)(uintptr_t)at, (uint32_t)bytes};
    return !bytes || semihost(operation, argument) == 0;
}

static char *next;

static void *taken(size_t bytes)
{
    char *at = (char *)(((uintptr_t)next + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    if (at > &heap_end || (size_t)(&heap_end - at) < bytes)
        leave(3);
    next = at + bytes;
    return at;
}

static uint32_t ports(int in, void **blocks, uint32_t *sizes)
{
    uint32_t count = 0;
    if (!moved(SYS_READ, in, &count, 4) || count > PORTS || !moved(SYS_READ, in, sizes, 4 * count))
        leave(4);
    for (uint32_t k = 0; k < count; ++k)
        blocks[k] = taken(sizes[k]);
    return count;
}

static uint32_t cost[2];

/* One call, its ticks and its stack, which is painted before. */
static int measured(void *const *in, void *const *out, void *state, void *arena)
{
    char *here;
    __asm__ volatile("mov %0, sp" : "=r"(here));
    for (char *p = &stack_low; p < here; ++p)
        *(volatile char *)p = PAINT;
    const uint32_t before = *(volatile uint32_t *)TICKS;
    const int refused = RUN((const void *const *)in, out, state, arena) != 0;
    cost[0] = *(volatile uint32_t *)TICKS - before;
    const char *deepest = &stack_low;
    while (deepest < here && *deepest == PAINT)
        ++deepest;
    cost[1] = (uint32_t)(here - deepest);
    return refused;
}

int main(void)
{
    static void *in[PORTS], *out[PORTS];
    static uint32_t in_bytes[PORTS], out_bytes[PORTS];
    uint32_t rows = 0;
    next = &heap_start;
    const int given = file("in.bin", 6, 1), answer = file("out.bin", 7, 5);
    if (!moved(SYS_READ, given, &rows, 4))
        return 4;
    const uint32_t n_in = ports(given, in, in_bytes), n_out = ports(given, out, out_bytes);
    void *state = taken(STATE_BYTES), *arena = taken(ARENA_BYTES);
    RESET(state);
    for (uint32_t row = 0; row < rows; ++row) {
        for (uint32_t k = 0; k < n_in; ++k)
            if (!moved(SYS_READ, given, in[k], in_bytes[k]))
                return 4;
        if (measured(in, out, state, arena))
            return 5;
        for (uint32_t k = 0; k < n_out; ++k)
            if (!moved(SYS_WRITE, answer, out[k], out_bytes[k]))
                return 6;
    }
    if (!moved(SYS_WRITE, answer, state, STATE_BYTES))
        return 6;
    return moved(SYS_WRITE, file("cost.bin", 8, 5), cost, sizeof cost) ? 0 : 6;
}
