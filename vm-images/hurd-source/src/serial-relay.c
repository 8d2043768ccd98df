/* serial-relay: carries one connection at a time over a serial line.

   Copyright (C) 2026 The hurdle authors.

   SPDX-License-Identifier: GPL-2.0-or-later  */

/* Usage: serial-relay TTY PORT

   The host's side of the line asks for a connection; it is made to PORT of
   127.0.0.1, where the SSH server listens.  harness/guest/relay.py is the
   other end, and has the same table:

     DLE 'O' n    host    open connection n, in place of the one there is
     DLE 'C'      both    this side has closed the connection
     DLE 'R' n    guest   connection n is open
     DLE 'N' n    guest   connection n could not be opened
     DLE 'A'      guest   CREDIT more bytes of data have been passed on
     DLE c        both    the byte of data c ^ FLIP
     c            both    the byte of data c

   DLE and ESC are never sent as themselves.  gnumach's serial driver keeps
   ESC back to see what follows, and loses one of two in a row: a stream that
   holds arbitrary bytes comes to a halt after some 65 kB, when the receiver
   waits for a byte that is missing.

   The host has at most WINDOW bytes under way that were not acknowledged,
   since the kernel's input queue (4095 bytes, and each may take two) drops what does
   not fit in.  */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define DLE 0x7d
#define ESC 0x1b
#define FLIP 0x20
#define WINDOW 1984
#define CREDIT 496

static int line;			/* the serial line */
static int peer = -1;			/* the connection; -1 for none */
static in_port_t port;

static unsigned char pending[WINDOW];	/* data for PEER */
static size_t pending_size;
static size_t owed;			/* bytes passed on, not acknowledged */

static void
die (const char *what)
{
  fprintf (stderr, "serial-relay: %s: %s\n", what, strerror (errno));
  exit (1);
}

/* Write all of DATA to the line.  The host always reads.  */
static void
say (const unsigned char *data, size_t size)
{
  while (size > 0)
    {
      ssize_t done = write (line, data, size);
      if (done < 0 && errno != EINTR)
	die ("write");
      if (done > 0)
	{
	  data += done;
	  size -= done;
	}
    }
}

static void
say_code (unsigned char code)
{
  say ((const unsigned char[]) { DLE, code }, 2);
}

static void
say_answer (unsigned char code, unsigned char number)
{
  say ((const unsigned char[]) { DLE, code, number }, 3);
}

static void
hang_up (void)
{
  if (peer >= 0)
    close (peer);
  peer = -1;
  pending_size = owed = 0;
}

/* Make connection NUMBER and tell the host.  */
static void
call (unsigned char number)
{
  struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons (port) };
  int one = 1;

  hang_up ();
  to.sin_addr.s_addr = htonl (INADDR_LOOPBACK);
  peer = socket (AF_INET, SOCK_STREAM, 0);
  if (peer < 0 || connect (peer, (struct sockaddr *) &to, sizeof to) < 0
      || fcntl (peer, F_SETFL, O_NONBLOCK) < 0)
    {
      hang_up ();
      say_answer ('N', number);
      return;
    }
  setsockopt (peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  say_answer ('R', number);
}

/* Pass on what is pending, as far as PEER takes it, and acknowledge.  */
static void
pass_on (void)
{
  while (peer >= 0 && pending_size > 0)
    {
      ssize_t done = send (peer, pending, pending_size, 0);
      if (done < 0 && errno == EINTR)
	continue;
      if (done < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
	break;
      if (done <= 0)
	{
	  hang_up ();
	  say_code ('C');
	  return;
	}
      pending_size -= done;
      memmove (pending, pending + done, pending_size);
      owed += done;
    }
  for (; owed >= CREDIT; owed -= CREDIT)
    say_code ('A');
}

static void
take (unsigned char byte)
{
  /* More than the window: a byte of an older connection, or noise.  */
  if (peer >= 0 && pending_size < WINDOW)
    pending[pending_size++] = byte;
}

/* One byte from the line.  */
static void
hear (unsigned char byte)
{
  static enum { PLAIN, AFTER_DLE, AFTER_OPEN } state;

  switch (state)
    {
    case PLAIN:
      if (byte == DLE)
	state = AFTER_DLE;
      else
	take (byte);
      break;
    case AFTER_DLE:
      state = PLAIN;
      if (byte == 'O')
	state = AFTER_OPEN;
      else if (byte == 'C')
	{
	  pass_on ();
	  hang_up ();
	}
      else
	take (byte ^ FLIP);
      break;
    case AFTER_OPEN:
      state = PLAIN;
      call (byte);
      break;
    }
}

static void
from_line (void)
{
  unsigned char data[2 * WINDOW];
  ssize_t size = read (line, data, sizeof data);

  if (size < 0 && errno != EINTR && errno != EAGAIN)
    die ("read");
  for (ssize_t i = 0; i < size; i++)
    hear (data[i]);
  pass_on ();
}

static void
from_peer (void)
{
  unsigned char data[WINDOW], packed[2 * WINDOW];
  size_t at = 0;
  ssize_t size = recv (peer, data, sizeof data, 0);

  if (size < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
    return;
  if (size <= 0)
    {
      hang_up ();
      say_code ('C');
      return;
    }
  for (ssize_t i = 0; i < size; i++)
    if (data[i] == DLE || data[i] == ESC)
      {
	packed[at++] = DLE;
	packed[at++] = data[i] ^ FLIP;
      }
    else
      packed[at++] = data[i];
  say (packed, at);
}

int
main (int argc, char **argv)
{
  struct termios raw;

  if (argc != 3 || atoi (argv[2]) <= 0)
    {
      fprintf (stderr, "usage: serial-relay TTY PORT\n");
      return 2;
    }
  port = atoi (argv[2]);
  signal (SIGPIPE, SIG_IGN);
  line = open (argv[1], O_RDWR | O_NOCTTY);
  if (line < 0 || tcgetattr (line, &raw) < 0)
    die (argv[1]);
  cfmakeraw (&raw);
  raw.c_cflag |= CLOCAL | CREAD;
  cfsetspeed (&raw, B115200);
  if (tcsetattr (line, TCSANOW, &raw) < 0)
    die (argv[1]);

  while (true)
    {
      struct pollfd waiting[] = {
	{ .fd = line, .events = POLLIN },
	{ .fd = peer, .events = POLLIN | (pending_size > 0 ? POLLOUT : 0) }
      };

      if (poll (waiting, 2, -1) < 0)
	{
	  if (errno == EINTR)
	    continue;
	  die ("poll");
	}
      if (waiting[0].revents)
	from_line ();
      if (peer >= 0 && waiting[1].fd == peer
	  && (waiting[1].revents & (POLLIN | POLLHUP | POLLERR)))
	from_peer ();
      if (peer >= 0 && pending_size > 0)
	pass_on ();
    }
}
