# cython: language_level=3
"""The firing clock: an absolute CLOCK_REALTIME timerfd that reports steps of the clock, and two settings of the process.

Owns one file descriptor per TimerFd. A step of the wall clock is reported exactly once: by read() or by arm().
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint64_t
from libc.string cimport memset
from posix.time cimport CLOCK_REALTIME, itimerspec
from posix.unistd cimport close as posix_close, read as posix_read

from c_timer cimport (
    ECANCELED,
    PR_SET_PDEATHSIG,
    PR_SET_TIMERSLACK,
    TFD_CLOEXEC,
    TFD_NONBLOCK,
    TFD_TIMER_ABSTIME,
    TFD_TIMER_CANCEL_ON_SET,
    prctl,
    timerfd_create,
    timerfd_settime,
)

import os

NONE = 0
FIRED = 1
STEPPED = 2


cdef object system_error():
    cdef int error = errno
    return OSError(error, os.strerror(error))


cdef class TimerFd:
    """One absolute timer on the wall clock."""

    cdef int _fd

    def __cinit__(self):
        self._fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC)
        if self._fd < 0:
            raise system_error()

    def __dealloc__(self):
        if self._fd >= 0:
            posix_close(self._fd)

    def fileno(self):
        """The descriptor, readable once the timer has fired or the clock was stepped; -1 when closed."""
        return self._fd

    cdef int _settime(self, uint64_t deadline_ns) except -1:
        cdef itimerspec when
        memset(&when, 0, sizeof(when))
        when.it_value.tv_sec = deadline_ns // 1000000000
        when.it_value.tv_nsec = deadline_ns % 1000000000
        if self._fd < 0:
            raise ValueError("the timer is closed")
        if timerfd_settime(self._fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &when, NULL) == 0:
            return NONE
        # The kernel arms the timer all the same and reports here a step that was not read yet (timerfd_create(2)).
        if errno == ECANCELED:
            return STEPPED
        raise system_error()

    def arm(self, uint64_t deadline_ns):
        """Fire at this wall clock time (a past one at once), instead of the time before; returns NONE, or STEPPED."""
        # Zero would disarm the timer, as timerfd_settime has it.
        return self._settime(deadline_ns if deadline_ns > 0 else 1)

    def disarm(self):
        """Fire no more, until armed again; returns NONE, or STEPPED."""
        return self._settime(0)

    def read(self):
        """What has happened since the last call: FIRED, STEPPED or NONE."""
        cdef uint64_t expirations = 0
        if self._fd < 0:
            raise ValueError("the timer is closed")
        if posix_read(self._fd, &expirations, sizeof(expirations)) == <ssize_t>sizeof(expirations):
            return FIRED
        if errno == EAGAIN or errno == EINTR:
            return NONE
        if errno == ECANCELED:
            return STEPPED
        raise system_error()

    def close(self):
        """Close the descriptor; harmless when repeated."""
        if self._fd >= 0:
            posix_close(self._fd)
            self._fd = -1


def set_timer_slack(unsigned long slack_ns):
    """Bound how late the kernel may wake the calling thread for the sake of saving power (Linux has 50 us by default)."""
    if slack_ns == 0:
        raise ValueError("zero would restore the default slack")
    if prctl(PR_SET_TIMERSLACK, slack_ns, 0, 0, 0) != 0:
        raise system_error()


def set_parent_death_signal(unsigned long signal_number):
    """Have the kernel send this process a signal when its parent thread dies; 0 takes it back.

    Check getppid() afterwards: a parent that died before the call sends nothing.
    """
    if prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise system_error()
