/*
 * The wall clock of one server, under the control of its test. Preloaded before the C library. Other clocks are left
 * unchanged.
 *
 * The file that REDLOCK_CLOCK names is mapped, and read at each call. It holds 64-bit numbers: the number of the record
 * that counts, and then two records. A record has three numbers: microseconds to add, parts per million to run fast by,
 * and the microsecond since which the rate applies. A record is written while the other one counts, so that no reader
 * sees a record half written.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SIZE (7 * sizeof(int64_t))

static volatile const int64_t *shared;

__attribute__((constructor)) static void map_file(void) {
    const char *path = getenv("REDLOCK_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(0, SIZE, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) shared = mapped;
}

static int64_t now_micros(void) {
    struct timespec real;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &real);
    int64_t now = real.tv_sec * 1000000LL + real.tv_nsec / 1000;
    if (!shared) return now;
    volatile const int64_t *record = shared + 1 + 3 * (shared[0] & 1);
    return now + record[0] + (now - record[2]) / 1000 * record[1] / 1000;
}

int gettimeofday(struct timeval *time, void *zone) {
    (void)zone;
    int64_t now = now_micros();
    time->tv_sec = now / 1000000;
    time->tv_usec = now % 1000000;
    return 0;
}

time_t time(time_t *time) {
    time_t now = now_micros() / 1000000;
    if (time) *time = now;
    return now;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) return syscall(SYS_clock_gettime, clock, time);
    int64_t now = now_micros();
    time->tv_sec = now / 1000000;
    time->tv_nsec = now % 1000000 * 1000;
    return 0;
}
