/*
 * user-mode-linux has room for 2696 bytes of floating point registers of a process. A processor with AMX has 11008, and
 * its kernel takes nothing but all of them: "ptrace set fp regs failed, errno = 14", and the guest's init dies. This
 * stands before ptrace() of the C library (LD_PRELOAD). What the guest knows is completed by registers in their initial
 * state, which they are in: Linux lets nobody use AMX who did not ask for it.
 *
 * A process that has not run since its registers were read, and gets the same ones, is left alone: half of all calls,
 * and the dear ones, since the kernel makes and drops a page table entry for each.
 */
#define PTRACE_CALL 101L
#define PEEK_FIRST 1
#define PEEK_LAST 3
#define POKE_LAST 6
#define GETREGS 12
#define SETREGS 13
#define GETREGSET 0x4204
#define SETREGSET 0x4205
#define XSTATE 0x202L
#define KNOWN_BYTES 2696
/* Where the header tells which registers are not in their initial state; and those that lie below KNOWN_BYTES. */
#define STATES_AT 512
#define STATES_KNOWN 0x3ffUL
#define SLOTS 256

typedef struct {
  unsigned char *at;
  unsigned long bytes;
} Area;

/* Of the C library, whose headers may not be there. */
long syscall(long number, ...);
void *memcpy(void *to, const void *from, unsigned long bytes);
int memcmp(const void *one, const void *other, unsigned long bytes);
void *memset(void *to, int value, unsigned long bytes);

/* What processes hold that have not run since. */
static struct {
  int pid;
  unsigned long bytes;
  unsigned char registers[KNOWN_BYTES];
} held[SLOTS];
static unsigned char all[1 << 14] __attribute__((aligned(64)));
static unsigned long all_bytes;

static long call(long request, long pid, Area *area) {
  return syscall(PTRACE_CALL, request, pid, XSTATE, area);
}

static long get_registers(int pid, Area *into) {
  long result = call(GETREGSET, pid, into);
  if (result != 0 || into->bytes > KNOWN_BYTES) return result;
  held[pid % SLOTS].pid = pid;
  held[pid % SLOTS].bytes = into->bytes;
  memcpy(held[pid % SLOTS].registers, into->at, into->bytes);
  return 0;
}

static long set_registers(int pid, Area *from) {
  int slot = pid % SLOTS;
  if (held[slot].pid == pid && held[slot].bytes == from->bytes &&
      memcmp(held[slot].registers, from->at, from->bytes) == 0) {
    return 0;
  }
  held[slot].pid = 0;
  Area whole = { all, sizeof all };
  if (all_bytes == 0) {
    long result = call(GETREGSET, pid, &whole);
    if (result != 0) return result;
    all_bytes = whole.bytes;
    memset(all, 0, sizeof all);
  }
  if (from->bytes >= all_bytes) return call(SETREGSET, pid, from);
  memcpy(all, from->at, from->bytes);
  *(unsigned long *)(all + STATES_AT) &= STATES_KNOWN;
  whole.bytes = all_bytes;
  return call(SETREGSET, pid, &whole);
}

long ptrace(int request, int pid, unsigned long address, unsigned long data) {
  if (request == GETREGSET && address == XSTATE) return get_registers(pid, (Area *)data);
  if (request == SETREGSET && address == XSTATE) return set_registers(pid, (Area *)data);
  /* Anything but looks and changes of its memory and its other registers may let it run. */
  int stands = (request >= PEEK_FIRST && request <= POKE_LAST) || request == GETREGS || request == SETREGS;
  if (!stands) held[(unsigned)pid % SLOTS].pid = 0;
  if (request < PEEK_FIRST || request > PEEK_LAST) {
    return syscall(PTRACE_CALL, (long)request, (long)pid, address, data);
  }
  /* The C library's answers the word, the kernel's writes it. */
  unsigned long word = 0;
  long result = syscall(PTRACE_CALL, (long)request, (long)pid, address, &word);
  return result < 0 ? result : (long)word;
}
