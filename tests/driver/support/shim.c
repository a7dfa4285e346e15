/*
 * What a machine may do to a server: a disk that is full, a clock that jumps, memory that is not to be had. Preloaded
 * (LD_PRELOAD) into the processes of a test's server, so that it works without mounts and other rights.
 *
 * EN57_SHIM names a file that the test and all processes have mapped. support/shim.rs writes the fields below.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct control {
    volatile int64_t clock_us;   /* what is added to the time of day */
    volatile int64_t room;       /* bytes by which files below `folder` may grow; negative: as they like */
    volatile int64_t victim;     /* the process whose memory runs out; 0: none */
    volatile int64_t until_fault; /* how many requests for memory it is still granted */
    volatile int64_t faults;     /* how many were refused */
    char folder[PATH_MAX];
};

static struct control *control;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("EN57_SHIM");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED)
        control = mapped;
}

#define NEXT(name) \
    static __typeof__(&name) next; \
    if (!next) \
        next = (__typeof__(&name)) dlsym(RTLD_NEXT, #name)

/* Whether a file may grow up to `end`; a part of the room is used then. A full disk refuses no byte that has its block. */
static int may_grow(int file, off_t end)
{
    char link[64], path[PATH_MAX];
    struct stat now;
    if (!control || control->room < 0 || fstat(file, &now) != 0 || !S_ISREG(now.st_mode) || end <= now.st_size)
        return 1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 1;
    path[length] = 0;
    if (strncmp(path, control->folder, strlen(control->folder)) != 0)
        return 1;
    if (__atomic_fetch_sub(&control->room, end - now.st_size, __ATOMIC_SEQ_CST) >= end - now.st_size)
        return 1;
    __atomic_store_n(&control->room, 0, __ATOMIC_SEQ_CST);
    errno = ENOSPC;
    return 0;
}

static off_t place(int file)
{
    struct stat now;
    if (fcntl(file, F_GETFL) & O_APPEND)
        return fstat(file, &now) == 0 ? now.st_size : 0;
    off_t at = lseek(file, 0, SEEK_CUR);
    return at < 0 ? 0 : at;
}

static off_t length_of(const struct iovec *parts, int count)
{
    off_t length = 0;
    for (int i = 0; i < count; i++)
        length += parts[i].iov_len;
    return length;
}

static int is_full(void)
{
    return control && control->room >= 0;
}

ssize_t write(int file, const void *bytes, size_t length)
{
    NEXT(write);
    if (is_full() && !may_grow(file, place(file) + length))
        return -1;
    return next(file, bytes, length);
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t at)
{
    NEXT(pwrite);
    return may_grow(file, at + length) ? next(file, bytes, length, at) : -1;
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off_t at)
{
    return pwrite(file, bytes, length, at);
}

ssize_t writev(int file, const struct iovec *parts, int count)
{
    NEXT(writev);
    if (is_full() && !may_grow(file, place(file) + length_of(parts, count)))
        return -1;
    return next(file, parts, count);
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t at)
{
    NEXT(pwritev);
    return may_grow(file, at + length_of(parts, count)) ? next(file, parts, count, at) : -1;
}

ssize_t pwritev64(int file, const struct iovec *parts, int count, off_t at)
{
    return pwritev(file, parts, count, at);
}

int posix_fallocate(int file, off_t at, off_t length)
{
    NEXT(posix_fallocate);
    return may_grow(file, at + length) ? next(file, at, length) : ENOSPC;
}

int posix_fallocate64(int file, off_t at, off_t length)
{
    return posix_fallocate(file, at, length);
}

int fallocate(int file, int mode, off_t at, off_t length)
{
    NEXT(fallocate);
    return may_grow(file, at + length) ? next(file, mode, at, length) : -1;
}

int fallocate64(int file, int mode, off_t at, off_t length)
{
    return fallocate(file, mode, at, length);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    NEXT(clock_gettime);
    int result = next(clock, now);
    if (result == 0 && control && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t us = control->clock_us;
        int64_t ns = now->tv_nsec + us % 1000000 * 1000;
        now->tv_sec += us / 1000000 + (ns >= 1000000000) - (ns < 0);
        now->tv_nsec = (ns + 1000000000) % 1000000000;
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;
    (void) zone;
    int result = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return result;
}

time_t time(time_t *told)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (told)
        *told = now.tv_sec;
    return now.tv_sec;
}

/*
 * Whether a request for memory is refused: one, when those before it are granted. Only the server's own and those of en57
 * are: glibc aborts a process itself at some of its own.
 */
static int is_refused(size_t bytes, void *who)
{
    Dl_info asks;
    if (!control || control->victim == 0 || bytes == 0 || control->victim != getpid())
        return 0;
    if (!dladdr(who, &asks) || !asks.dli_fname || !(strstr(asks.dli_fname, "en57") || strstr(asks.dli_fname, "postgres")))
        return 0;
    if (__atomic_sub_fetch(&control->until_fault, 1, __ATOMIC_SEQ_CST) != -1)
        return 0;
    __atomic_add_fetch(&control->faults, 1, __ATOMIC_SEQ_CST);
    errno = ENOMEM;
    return 1;
}

#define IS_REFUSED(bytes) is_refused(bytes, __builtin_return_address(0))

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

void *malloc(size_t bytes)
{
    return IS_REFUSED(bytes) ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    return IS_REFUSED(count * bytes) ? NULL : __libc_calloc(count, bytes);
}

void *realloc(void *old, size_t bytes)
{
    return IS_REFUSED(bytes) ? NULL : __libc_realloc(old, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return IS_REFUSED(bytes) ? NULL : __libc_memalign(alignment, bytes);
}

int posix_memalign(void **result, size_t alignment, size_t bytes)
{
    void *memory = IS_REFUSED(bytes) ? NULL : __libc_memalign(alignment, bytes);
    if (!memory)
        return ENOMEM;
    *result = memory;
    return 0;
}
