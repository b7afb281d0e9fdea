// A browser starts no search worker for a page from the disk: without a server there is no search.
if (location.protocol === "file:") {
  window.Worker = class {
    postMessage() {}
  };
  document.querySelectorAll('[role="search"]').forEach((form) => form.remove());
}
