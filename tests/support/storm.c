/* Calls that take their time: seldom one that opens below STORM_UNDER, now and then one that
   changes names there or syncs, sleeps before it is done, so that processes meet at moments at
   which they rarely meet. With STORM_LOCKS=granted every lock is granted to everyone, as some
   file systems do. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void nap(const char *path, unsigned one_in)
{
    static __thread unsigned long state;
    const char *under = getenv("STORM_UNDER");
    if (!under || (path && path[0] == '/' && strncmp(path, under, strlen(under))))
        return;
    if (!state)
        state = ((unsigned long)getpid() * 2654435761u) ^ (unsigned long)time(NULL) ^ (unsigned long)&state;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    if (state % one_in == 0)
        usleep(state / one_in % 20000);
}

#define OPEN(name, first_declared, first)                              \
    int name(first_declared const char *path, int flags, ...)          \
    {                                                                  \
        va_list rest;                                                  \
        va_start(rest, flags);                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                  \
        nap(path, 64);                                                 \
        return REAL(name)(first path, flags, mode);                    \
    }
#define COMMA ,
OPEN(open, , )
OPEN(open64, , )
OPEN(openat, int folder COMMA, folder COMMA)
OPEN(openat64, int folder COMMA, folder COMMA)

int link(const char *from, const char *to) { nap(to, 8); return REAL(link)(from, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) { nap(to, 8); return REAL(linkat)(a, from, b, to, flags); }
int rename(const char *from, const char *to) { nap(to, 8); return REAL(rename)(from, to); }
int renameat(int a, const char *from, int b, const char *to) { nap(to, 8); return REAL(renameat)(a, from, b, to); }
int unlink(const char *path) { nap(path, 8); return REAL(unlink)(path); }
int unlinkat(int folder, const char *path, int flags) { nap(path, 8); return REAL(unlinkat)(folder, path, flags); }
int fsync(int file) { nap(NULL, 8); return REAL(fsync)(file); }

int flock(int file, int operation)
{
    const char *locks = getenv("STORM_LOCKS");
    return locks && !strcmp(locks, "granted") ? 0 : REAL(flock)(file, operation);
}
