#include "base/file.h"

namespace lowbit {
namespace {

Status fill_aside(FileSystem& files, const Path& aside,
                  const std::function<Status(WritableFile&)>& fill) {
  auto file = files.create(aside);
  if (!file) return std::move(file).error();
  if (Status filled = fill(**file); !filled) return filled;
  if (Status synced = (*file)->sync(); !synced) return synced;
  return (*file)->close();
}

}  // namespace

Path partial_path(const Path& path) {
  Path aside = path;
  aside += ".partial";
  return aside;
}

Path parent_folder(const Path& path) {
  return path.has_parent_path() ? path.parent_path() : Path(".");
}

Status write_aside(FileSystem& files, const Path& path,
                   const std::function<Status(WritableFile&)>& fill) {
  const Path aside = partial_path(path);
  Status done = fill_aside(files, aside, fill);
  if (done) done = files.rename(aside, path);
  if (!done) {
    // What stopped us is the error to report; that the rest could not be removed adds nothing.
    static_cast<void>(files.remove(aside));
    return done;
  }
  return files.sync_folder(parent_folder(path));
}

Status write_whole(FileSystem& files, const Path& path, std::string_view content) {
  return write_aside(files, path, [&](WritableFile& file) {
    return file.write(std::as_bytes(std::span(content)));
  });
}

}  // namespace lowbit
