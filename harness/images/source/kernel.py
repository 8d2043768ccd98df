"""The guest's kernel: Debian's own binary, or gnumach built from a tree with network drivers."""

from __future__ import annotations

from harness.images.source.sources import DebSource, Source
from harness.images.source.stage import NOTES, Addition, Edit, Stage, Step

#: what gcc 14 made an error, and the drivers from Linux 2.0 do
_OLD_C = (
    "-Wno-error=implicit-function-declaration -Wno-error=int-conversion"
    " -Wno-error=incompatible-pointer-types"
)
_DRIVERS = (
    "--disable-linux-groups --enable-ide --enable-ne2k-pci --enable-rtl8139"
    " --enable-eepro100 --enable-pcnet32 --enable-kmsg"
)

# Hurd asks for a flush of the disk's cache by this flavor of device_set_status; its number is in
# gnumach's device/device_types.h since 2025.  3 and 22 are Linux's numbers of the IDE controllers.
_FLUSH_CASE = """
#ifndef DEV_FLUSH_CACHE
#define DEV_FLUSH_CACHE 2
#endif
      case DEV_FLUSH_CACHE:
        if (MAJOR (bd->dev) == 3 || MAJOR (bd->dev) == 22)
          {
            extern int ide_flush_cache (kdev_t dev);
            int err;
            DECL_DATA;
            INIT_DATA ();
            err = ide_flush_cache (bd->dev);
            return err ? linux_to_mach_error (err) : D_SUCCESS;
          }
        break;
"""

# 0xe7 is FLUSH CACHE of ATA.  The driver's own ioctl for commands takes them from the memory of
# whoever asked, which is no use within the kernel.
_FLUSH = """
int
ide_flush_cache (kdev_t dev)
{
  byte args[4] = { 0xe7, 0, 0, 0 };
  struct request rq;
  ide_drive_t *drive = get_info_ptr (dev);

  if (drive == NULL || drive->media != ide_disk)
    return -ENODEV;
  ide_init_drive_cmd (&rq);
  rq.buffer = (char *) args;
  return ide_do_drive_cmd (drive, &rq, ide_wait);
}
"""

_EDITS = (
    # It relied on headers that included others.
    Edit(
        "linux/dev/include/linux/skbuff.h",
        r"\A((?s:.*?))^(#include )",
        r"\1#ifdef MACH_INCLUDE\n#include <mach/message.h>\n#include <ipc/ipc_port.h>\n"
        r"#include <vm/vm_map.h>\n#endif\n\2",
    ),
    Addition(
        "linux/dev/glue/block.c",
        r"^(device_set_status \((?s:.)*?switch \(flavor\)\n\s*\{\n)",
        r"\1" + _FLUSH_CASE,
        unless="DEV_FLUSH_CACHE",
        note="patched by hurdle: flushes of IDE disks",
    ),
    Addition("linux/src/drivers/block/ide.c", r"\Z", _FLUSH, unless="FLUSH_CACHE"),
)


def kernel(source: Source) -> Stage:
    """The kernel as `boot/gnumach`: of a binary package, else built with disk and network drivers.

    A tree that knows no flush gets one for IDE; the file `notes` says so.
    """
    if isinstance(source, DebSource):
        step = "mkdir {out}/boot && zcat {src}/boot/gnumach-*.gz > {out}/boot/gnumach"
        return Stage("gnumach", source=source, steps=(Step("unpack", step),))
    return Stage(
        "gnumach",
        source=source,
        edits=_EDITS,
        needs=("gcc", "mach-headers", "mig"),
        env={"CC": "i686-gnu-gcc", "MIG": "i686-gnu-mig"},
        steps=(
            Step("autoreconf", "autoreconf -i", once=True, cwd="{src}"),
            Step(
                "configure",
                "{src}/configure --build=x86_64-linux-gnu --host=i686-gnu --prefix="
                f" {_DRIVERS} CFLAGS='-O2 -g0 {_OLD_C}'",
                once=True,
            ),
            Step("make", "make -j{jobs} gnumach"),
            Step(
                "install",
                "install -D gnumach {out}/boot/gnumach && i686-gnu-strip {out}/boot/gnumach"
                f" && {{ test ! -e {{src}}/{NOTES} || cp {{src}}/{NOTES} {{out}}/notes; }}",
            ),
        ),
    )
