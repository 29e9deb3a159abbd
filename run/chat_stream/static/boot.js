// Says so when the client cannot begin: a module that is missing, broken or too new for the browser.
// A classic script: it runs whatever becomes of the modules. Where not even this arrives, the page's
// style shows the same words after a while (style.css, .not-loaded).

{
  const failed = ({ type, target, error }) => {
    // A style or an icon that is missing is no reason to stop.
    if (type === "error" && !error && target?.tagName !== "SCRIPT") return;
    if (document.body.dataset.view === "loading") document.body.dataset.view = "not-loaded";
  };
  addEventListener("error", failed, true);
  addEventListener("unhandledrejection", failed);
}
