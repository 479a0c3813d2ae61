/* Faults for a process, at a call that the test names (fault injection through LD_PRELOAD).
 *
 * Calls on files whose path begins with SABOTAGE_PATH, and sends to the port SABOTAGE_PORT, are counted over all threads and processes that share the control
 * file SABOTAGE_CONTROL. The test writes the words below into that file while they run.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/types.h>
#include <unistd.h>

enum act { NOTHING, KILL_BEFORE, KILL_AFTER, FAIL, TEAR, SHORT };
enum call { WRITE = 1, SYNC = 2, RENAME = 4, SIZE = 8, SEND = 16 };

struct control {
    _Atomic unsigned long seen;    /* matching calls so far */
    _Atomic unsigned long at;      /* the one that is hurt; 0 for none */
    _Atomic unsigned long act;     /* how */
    _Atomic unsigned long calls;   /* which calls count */
    _Atomic unsigned long forever; /* all later ones too */
    _Atomic unsigned long hurt;    /* how many were */
    _Atomic unsigned long error;   /* the errno of FAIL */
};

static struct control *control;
static char path[PATH_MAX];
static int port;

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("SABOTAGE_CONTROL"), *below = getenv("SABOTAGE_PATH");
    if (!file) return;
    int fd = open(file, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED) return;
    if (below) snprintf(path, sizeof path, "%s", below);
    if (getenv("SABOTAGE_PORT")) port = atoi(getenv("SABOTAGE_PORT"));
    control = mapped;
}

static int below(const char *name) { return path[0] && strncmp(name, path, strlen(path)) == 0; }

static int of_file(int fd) {
    char link[64], name[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (length <= 0) return 0;
    name[length] = 0;
    return below(name);
}

static int to_port(int fd) {
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    return port && getpeername(fd, (struct sockaddr *)&peer, &length) == 0 && peer.sin_family == AF_INET &&
           ntohs(peer.sin_port) == port;
}

/* What is to be done to this call. */
static enum act now(enum call call) {
    if (!(atomic_load(&control->calls) & call)) return NOTHING;
    unsigned long turn = atomic_fetch_add(&control->seen, 1) + 1, at = atomic_load(&control->at);
    if (!at || !(turn == at || (turn > at && atomic_load(&control->forever)))) return NOTHING;
    atomic_fetch_add(&control->hurt, 1);
    enum act act = (enum act)atomic_load(&control->act);
    if (act == KILL_BEFORE) kill(getpid(), SIGKILL);
    return act;
}

static void killed(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define HURT(matches, call, length, part, whole)                   \
    do {                                                           \
        if (!control || !(matches)) return whole;                  \
        enum act act = now(call);                                  \
        if (act == KILL_BEFORE) killed();                          \
        if (act == FAIL) {                                         \
            errno = (int)atomic_load(&control->error);             \
            return -1;                                             \
        }                                                          \
        if (act == TEAR && (length) > 1) {                         \
            (void)(part);                                          \
            killed();                                              \
        }                                                          \
        if (act == SHORT && (length) > 1) return part;             \
        __typeof__(whole) done = whole;                            \
        if (act == KILL_AFTER || act == TEAR) killed();            \
        return done;                                               \
    } while (0)

ssize_t write(int fd, const void *bytes, size_t length) {
    ssize_t (*real)(int, const void *, size_t) = REAL(write);
    HURT(of_file(fd), WRITE, length, real(fd, bytes, length / 2), real(fd, bytes, length));
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t place) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = REAL(pwrite64);
    HURT(of_file(fd), WRITE, length, real(fd, bytes, length / 2, place), real(fd, bytes, length, place));
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t place) {
    ssize_t (*real)(int, const void *, size_t, off_t) = REAL(pwrite);
    HURT(of_file(fd), WRITE, length, real(fd, bytes, length / 2, place), real(fd, bytes, length, place));
}

int fsync(int fd) {
    int (*real)(int) = REAL(fsync);
    HURT(of_file(fd), SYNC, 0, 0, real(fd));
}

int fdatasync(int fd) {
    int (*real)(int) = REAL(fdatasync);
    HURT(of_file(fd), SYNC, 0, 0, real(fd));
}

int ftruncate64(int fd, off64_t length) {
    int (*real)(int, off64_t) = REAL(ftruncate64);
    HURT(of_file(fd), SIZE, 0, 0, real(fd, length));
}

int ftruncate(int fd, off_t length) {
    int (*real)(int, off_t) = REAL(ftruncate);
    HURT(of_file(fd), SIZE, 0, 0, real(fd, length));
}

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = REAL(rename);
    HURT(below(to), RENAME, 0, 0, real(from, to));
}

ssize_t send(int fd, const void *bytes, size_t length, int flags) {
    ssize_t (*real)(int, const void *, size_t, int) = REAL(send);
    HURT(to_port(fd), SEND, length, real(fd, bytes, length / 2, flags), real(fd, bytes, length, flags));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    ssize_t (*real)(int, const struct iovec *, int) = REAL(writev);
    HURT(to_port(fd), SEND, count, real(fd, parts, count / 2), real(fd, parts, count));
}
