/* Runs a generated network as a process: rows of inputs from standard input, rows of outputs to
   standard output, both as raw bytes, port after port. The state is reset once, before the first
   row, and written behind the last one. Compiled with -DHEADER="net.h", and -DRUN=net_run (or another
   of the network's functions), -DRESET=net_reset, -DARENA_BYTES=net_arena_bytes,
   -DSTATE_BYTES=net_state_bytes: never a name by itself, which might be a macro's.

   arguments: ROWS INPUTS BYTES_OF_EACH_INPUT... OUTPUTS BYTES_OF_EACH_OUTPUT...
   exit code: 0, or 2 wrong arguments, 3 no memory, 4 inputs end early, 5 the network refused its
   memory, 6 outputs can't be written. */

#define _POSIX_C_SOURCE 200112L
#include <stdio.h>
#include <stdlib.h>
#include HEADER

enum { ALIGNMENT = 64 };

/* Blocks of exactly the size asked for, so that a sanitizer sees every byte beyond. */
static void *aligned(size_t bytes)
{
    void *block = NULL;
    return posix_memalign(&block, ALIGNMENT, bytes ? bytes : 1) ? NULL : block;
}

/* Reads a port count and the sizes behind it; NULL when they are malformed or memory is short. */
static void **ports(char **argv, int argc, int *at, size_t *count, size_t **sizes)
{
    if (*at >= argc)
        return NULL;
    *count = (size_t)strtoul(argv[(*at)++], NULL, 10);
    void **blocks = malloc((*count + 1) * sizeof *blocks);
    *sizes = malloc((*count + 1) * sizeof **sizes);
    if (!blocks || !*sizes || *at + (int)*count > argc)
        return NULL;
    for (size_t k = 0; k < *count; k++) {
        (*sizes)[k] = (size_t)strtoul(argv[(*at)++], NULL, 10);
        blocks[k] = malloc((*sizes)[k] ? (*sizes)[k] : 1);
        if (!blocks[k])
            return NULL;
    }
    return blocks;
}

int main(int argc, char **argv)
{
    size_t n_in, n_out, *in_bytes, *out_bytes;
    int at = 2;
    if (argc < 4)
        return 2;
    unsigned long rows = strtoul(argv[1], NULL, 10);
    void **in = ports(argv, argc, &at, &n_in, &in_bytes);
    void **out = ports(argv, argc, &at, &n_out, &out_bytes);
    void *state = aligned(STATE_BYTES), *arena = aligned(ARENA_BYTES);
    if (!in || !out || !state || !arena)
        return 3;
    RESET(state);
    for (unsigned long row = 0; row < rows; row++) {
        for (size_t k = 0; k < n_in; k++)
            if (fread(in[k], 1, in_bytes[k], stdin) != in_bytes[k])
                return 4;
        if (RUN((const void *const *)in, (void *const *)out, state, arena))
            return 5;
        for (size_t k = 0; k < n_out; k++)
            if (fwrite(out[k], 1, out_bytes[k], stdout) != out_bytes[k])
                return 6;
    }
    if (fwrite(state, 1, STATE_BYTES, stdout) != STATE_BYTES)
        return 6;
    return fflush(stdout) ? 6 : 0;
}
