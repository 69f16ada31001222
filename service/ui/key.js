/** The dialog for the API key, which opens when the service asks for one or people want to. */

import { useKey } from "./service.js";

const element = (id) => document.getElementById(id);

const INVISIBLE = /[\p{Cc}\p{Cf}\p{Z}]/gu; // comes along when a key is copied, and is part of none
const FOREIGN = /[^!-~]/u; // no header of HTTP takes it

/** Call `onKey` when there is a new key. */
export function start(onKey) {
  element("key-open").addEventListener("click", () => ask("Enter another key for this service."));
  element("key-cancel").addEventListener("click", () => element("key-dialog").close());
  element("key-dialog").addEventListener("close", () => {
    element("key").value = "";
  });
  element("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = element("key").value.replace(INVISIBLE, "");
    const fault = faultOf(key);
    element("key-fault").textContent = fault;
    element("key").setAttribute("aria-invalid", String(Boolean(fault)));
    if (fault) {
      element("key").select(); // the next paste takes its place
      return;
    }
    useKey(key);
    element("key-dialog").close();
    onKey();
  });
}

/** Open the dialog and say why. */
export function ask(reason) {
  element("key-note").textContent = `${reason} The key is kept until the page is closed.`;
  element("key-fault").textContent = "";
  element("key").removeAttribute("aria-invalid");
  if (!element("key-dialog").open) element("key-dialog").showModal();
  element("key").focus();
}

function faultOf(key) {
  if (!key) return "Enter a key.";
  const foreign = FOREIGN.exec(key);
  if (!foreign) return "";
  const code = foreign[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  return (
    `Character ${foreign.index + 1}, “${foreign[0]}” (U+${code}), is in no key: keys have Latin ` +
    "letters, digits and signs alone. Copy the key anew."
  );
}
