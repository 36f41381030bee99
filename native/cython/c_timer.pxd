# cython: language_level=3
"""C declarations of timerfd and prctl."""

from posix.time cimport itimerspec


cdef extern from "<sys/timerfd.h>" nogil:
    enum: TFD_NONBLOCK
    enum: TFD_CLOEXEC
    enum: TFD_TIMER_ABSTIME
    enum: TFD_TIMER_CANCEL_ON_SET
    int timerfd_create(int clock, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec *new_value, itimerspec *old_value)


cdef extern from "<sys/prctl.h>" nogil:
    enum: PR_SET_TIMERSLACK
    enum: PR_SET_PDEATHSIG
    int prctl(int option, unsigned long argument, ...)


cdef extern from "<errno.h>" nogil:
    enum: ECANCELED
