"""Made texts with personal data, marked: {E:..} e-mail, {P:..} phone, {C:..} card, {I:..} IBAN, {N:..} national number,
{A:..} IP address. No number belongs to anybody: cards are of the public test ranges, telephone numbers of the ranges
kept for fiction or examples, domains are reserved, addresses are public name servers, and check digits are computed.
"""

from __future__ import annotations

MARKED = {
    "en": """
Write to {E:jane.doe@example.com} for the annex.
Contact: {E:j.o'neil+grid@mail.example.org}, or the desk in Nairobi.
The minutes were sent to {E:first_last@sub.dept.example.net}.
<{E:ops-team@example.co.test}> is read every morning.
Reply-To:{E:a1@example.com};{E:b2@example.org}
Her address is {E:JANE.DOE@EXAMPLE.COM}, not the one above.
mailto:{E:press@example.org}?subject=COP
Call {P:+1 415 555 0132} before noon.
Our London office: {P:+44 20 7946 0958} (reception).
Fax {P:+1 (212) 555-0147}, room 12.
You can reach me at {P:(212) 555-0147} after five.
Phone: {P:415-555-0132}
tel. {P:415.555.0132}, ask for Ann
My mobile is {P:0412 345 678} now.
WhatsApp {P:+254 712 123456} for the county agent.
Ring {P:020 7946 0958} and ask for the flood desk.
Dial {P:0044 20 7946 0958} from abroad.
Text {P:4155550132} to join.
I paid with {C:4111 1111 1111 1111} at the desk.
Card {C:5555555555554444}, expires 12/29.
Amex {C:3782 822463 10005} was declined.
My card ending is wrong, the whole number is {C:6011-1111-1111-1117}.
Please charge {C:2223003122003222} and send the receipt.
Old Diners card: {C:30569309025904}.
Pay into {I:GB72 NWBK 6329 0456 9204 62} by Friday.
IBAN:{I:GB72NWBK63290456920462}
The grant goes to {I:DE02981848824554740698}; the rest stays.
My SSN is {N:536-22-8145}.
Social security number: {N:401 55 7812}
She gave {N:536228145} as her social security no.
National Insurance number {N:JG 10 37 59 A} is on the form.
NI number: {N:AB123456C}
His SIN is {N:132 441 288}, said the clerk in Ottawa.
South African ID {N:8501050158087} was copied on the form.
PPS number {N:5150832PA}, Dublin.
Aadhaar {N:9720 2776 9746} was quoted in the complaint.
The request came from {A:8.8.8.8} twice.
Login from IP {A:93.184.216.34} at 12:30:45.
http://{A:93.184.216.34}:8080/status was slow.
The server answered on {A:2606:4700:4700::1111} only.
Host [{A:2001:4860:4860::8888}] replied.
Ann Lee, {E:ann@example.com}, {P:+1 415 555 0199}, card {C:4242 4242 4242 4242}.
From {A:208.67.222.222}: {E:root@example.net} wrote "call {P:+61 412 345 678}".
SSN {N:401-55-7812}, IBAN {I:NL65ABNA2396151493}, mail {E:x.y@example.org}.
Order 2024/117 of {E:lee@example.com} ships on 2024-05-01; phone {P:+44 121 234 5678}.
""",
    "es": """
Escriba a {E:maria.lopez@example.org} para el anexo.
Mi correo es {E:jose_garcia@correo.example.com}.
Llámame al {P:612 34 56 78} por la tarde.
Teléfono: {P:+34 612 34 56 78}
La oficina de México: {P:+52 55 1234 5678}.
Tel. {P:55 1234 5678}, extensión 4
El móvil {P:612345678} está apagado.
DNI {N:41400338Q}, Sevilla.
Con DNI número {N:21.501.738-G}, mayor de edad.
NIE: {N:X8267988V}
El extranjero con NIE {N:Z-1074444-G} vive en Vigo.
La CURP {N:SALN650326MDFBCD02} figura en el acta.
RUT {N:18.811.293-5}, Santiago.
CUIT {N:20-49784854-8} del productor de Rosario.
Ingrese el pago en {I:ES04 8344 6676 6008 8682 0235}.
Cuenta: {I:ES0483446676600886820235}
Pagué con la tarjeta {C:4012 8888 8888 1881}.
Mi tarjeta es {C:5105105105105100} y no funciona.
Conexión desde {A:199.9.14.201} el 3 de mayo.
Ana Ruiz, DNI {N:81334384J}, {E:ana.ruiz@example.com}, {P:+34 612 34 56 79}.
El IBAN {I:ES0483446676600886820235} y el teléfono {P:612 34 56 70} son suyos.
""",
    "fr": """
Écrivez à {E:luc.martin@example.org} avant lundi.
Mon adresse : {E:zoé.petit@example.com}
Appelez le {P:06 12 34 56 78} après 18 h.
Tél. : {P:01 99 00 12 34}
Mon numéro est le {P:06.12.34.56.78}.
Jean {P:06 12 34 56 70} rappelle.
Le bureau de Dakar : {P:+221 33 123 45 67}.
Joignable au {P:+33 1 99 00 12 34} le matin
Numéro de sécurité sociale : {N:2 65 03 59 722 809 55}
NIR {N:185048065029386}, caisse de Lyon.
N° de sécu {N:1 53 07 66 178 139 01} inscrit au dossier.
Virement sur {I:FR78 0688 7270 0644 4305 1487 125}.
IBAN {I:FR7806887270064443051487125}, merci.
Payé par carte {C:4000 0566 5566 5556} hier.
Ma carte bancaire {C:5200828282828210} est perdue.
Connexion depuis {A:185.228.168.9}.
Numéro national {N:89.10.13-853.17}, Namur.
Mme Petit, {P:06 12 34 56 79}, {E:petit@example.net}, IBAN {I:BE26 5213 2323 4029}.
Numéro AVS {N:756.3518.8508.24}, Genève.
Le serveur {A:2620:fe::fe} a répondu à {E:admin@example.org}.
""",
    "de": """
Bitte an {E:klaus.müller@example.org} senden.
E-Mail: {E:info@behörde.example}
Rufen Sie {P:030 23125 456} an.
Telefon {P:0171 3920012}, Zimmer 4
Tel.: {P:+49 (0)30 23125 456}
Handy {P:+49 1512 3456789} ist aus.
Steuer-ID {N:47 613 581 122} liegt vor.
Meine Steueridentifikationsnummer lautet {N:60970584231}.
Überweisen Sie auf {I:DE02 9818 4882 4554 7406 98}.
IBAN: {I:CH14 6794 6495 7739 8170 8}
Kreditkarte {C:4242-4242-4242-4242}, gültig bis 11/28.
Karte {C:371449635398431} wurde gesperrt.
Zugriff von {A:93.184.216.34} um 14:05 Uhr.
AHV-Nummer {N:756.9736.6017.05}
Frau Weiß, {P:030/23125 456}, {E:weiss@example.com}, IBAN {I:DE02981848824554740698}.
Die IPv6-Adresse {A:2a02:6b8::feed:ff} gehört {E:netz@example.net}.
""",
    "pt": """
Escreva para {E:joao.silva@example.com} hoje.
Meu e-mail: {E:ana-souza@exemplo.example}
Ligue para {P:(11) 91234-5678} amanhã.
Telefone {P:+55 21 99876-1234}, Rio
Celular: {P:11 91234-5678}
O telemóvel é {P:912 345 678}.
Lisboa: {P:+351 912 345 678}
CPF {N:217.477.422-44}, São Paulo.
O CPF dele é {N:06997861504}.
O segurado {N:484.305.617-06} recorreu.
Pague no IBAN {I:PT56 5017 0207 2714 1100 2003 5}?
Conta {I:BR70 9295 1546 0665 0085 1994 730P 1} do fundo.
Cartão {C:5555 5555 5555 4444} recusado.
Acesso de {A:199.9.14.201} às 10h30.
João, CPF {N:991.308.374-56}, {E:joao@example.org}, {P:(21) 99876-1234}.
""",
    "ar": """
راسلنا على {E:ahmed@example.com} من فضلك.
البريد: {E:mona.ali@example.org}، القاهرة
اتصل على {P:+966 50 123 4567} مساء.
هاتف: {P:+٩٦٦ ٥٠ ١٢٣ ٤٥٦٧}
رقم الجوال {P:٠٥٠ ١٢٣ ٤٥٦٧} في الرياض.
الهاتف {P:0100 123 4567} مغلق
الآيبان {I:SA17 8056 0262 6803 0852 4903} للتحويل.
رقم الحساب {I:AE442897430293943806819}.
البطاقة {C:4111 1111 1111 1111} مرفوضة.
بطاقة ائتمان {C:٤٢٤٢ ٤٢٤٢ ٤٢٤٢ ٤٢٤٢} منتهية.
الدخول من {A:8.8.4.4} أمس.
أحمد، {E:a.h@example.net}، {P:+20 10 01234567}، بطاقة {C:5555555555554444}.
الحساب {I:EG072401748792374344955889713} لدى البنك.
""",
    "hi": """
कृपया {E:ravi@example.com} पर लिखें।
ईमेल: {E:sita.devi@example.org}।
मोबाइल {P:98765 43210} पर कॉल करें।
फ़ोन {P:+91 81234 56789} बंद है।
दूरभाष {P:+९१ ९८७६५ ४३२१०} पर बात करें।
आधार संख्या {N:7844 8693 8766} दर्ज है।
मेरा आधार नंबर {N:७८४४ ८६९३ ८७६६} है।
आधार कार्ड {N:289901711435} खो गया।
कार्ड {C:4012888888881881} से भुगतान हुआ।
रवि, {P:९८७६५४३२१०} मोबाइल, {E:ravi.k@example.net}।
आईपी पता {A:1.1.1.1} से लॉगिन हुआ।
""",
    "zh": """
请发邮件至{E:wang.li@example.com}。
邮箱：{E:zhang_wei@example.org}，谢谢
我的手机号是{P:13912345678}。
请拨打电话{P:010-6552 9988}咨询。
电话：{P:+86 131 2345 6789}
联系电话：{P:１３９１２３４５６７８}
身份证号{N:310104195202134776}，住上海。
身份证：{N:４４０３０５１９９５０９２０３５３１}
公民身份号码 {N:110101198404129585}
信用卡{C:6200000000000005}已冻结。
卡号：{C:4111 1111 1111 1111}
从{A:114.114.114.114}登录。
王丽，{P:+86 139 1234 5678}，{E:wl@example.com}，身份证{N:310104197506172746}。
汇款到{I:DE02 9818 4882 4554 7406 98}账户。
""",
    "ru": """
Пишите на {E:ivan.petrov@example.com} до пятницы.
Почта: {E:иван@пример.тест}
Звоните {P:8 (495) 123-45-67} днём.
Телефон {P:+7 912 345-67-89}, Иван
тел. {P:8 912 345 67 89}
Мобильный: {P:+7 (301) 123-45-67}
СНИЛС {N:104-810-873 30} указан в анкете.
Его номер {N:874-412-343 11} внесён.
ИНН {N:209117659069}, физическое лицо.
Счёт {I:UA889057409692153576603245250} закрыт.
Карта {C:4242 4242 4242 4242} заблокирована.
Вход с адреса {A:77.88.8.8} ночью.
Петров, {P:+7 912 345-67-80}, {E:petrov@example.org}, СНИЛС {N:836-549-543 39}.
Сервер {A:2a02:6b8::feed:ff} не отвечает.
""",
    "it": """
Scrivi a {E:luca.rossi@example.org} domani.
Codice fiscale {N:MSGPDG77B15H677H}.
Il signor Rossi ({N:RVNVFG92C22A725A}) abita a Bari.
Chiama il {P:312 345 6789} dopo cena.
Telefono {P:+39 02 1234 5678}
IBAN {I:IT49 X529 9671 9985 0079 1071 999}
Carta {C:5105 1051 0510 5100}, {E:rossi@example.com}, CF {N:TBSGFS62R09F972S}.
""",
    "nl": """
Mail naar {E:jan.jansen@example.com}.
BSN {N:862305287} staat in de brief.
Burgerservicenummer: {N:7466.26.575}
Bel {P:06 12345678} voor hulp.
Rekening {I:NL65 ABNA 2396 1514 93}, mobiel {P:+31 6 12345678}.
""",
    "pl": """
PESEL {N:59071112914}, Kraków.
Numer PESEL: {N:86121019352}, e-mail {E:jan@example.org}
Zadzwoń: {P:512 345 678}
Konto {I:PL29 0088 5324 8578 1692 2911 3057}.
Telefon {P:+48 512 345 678}
""",
    "sv": """
Personnummer {N:580901-8749}, Lund.
Född {N:641114-8361} i Umeå.
Ring {P:070-174 06 05} efter klockan tio.
Skriv till {E:anna@example.com} eller {P:+46 70 174 06 05}.
Konto {I:SE24 7688 8326 7631 7354 8132}
""",
    "fi": """
Henkilötunnus {N:091076-597R}.
Hakija {N:090856A752Y} asuu Oulussa.
Sähköposti {E:matti@example.org}, hetu {N:130883-5588}
""",
    "ja": """
電話は{P:090-1234-5678}です。
お問い合わせ：{P:03-1234-5678}、{E:sato@example.com}
マイナンバーは{N:7897 7805 3210}です。
カード番号{C:3530111333300000}を使いました。
""",
    "ko": """
전화 {P:010-2000-0000} 으로 연락 주세요.
주민등록번호 {N:910924-1643226}
이메일 {E:kim@example.com}, 휴대폰 {P:+82 10-2000-0000}
""",
    "tr": """
Telefon {P:0532 123 45 67}, Ankara.
T.C. kimlik no {N:79869156708}
E-posta {E:ayşe@example.com}, IBAN {I:TR79 0707 4095 3735 1055 9198 98}
""",
    "no": """
Fødselsnummer {N:10117507837}, Bergen.
Konto {I:NO96 5707 5222 590}, epost {E:kari@example.com}
""",
    "cs": """
Rodné číslo {N:550123/5421}, Brno.
Pište na {E:jana@example.org}; r. č. {N:780820/4756}
""",
    "da": """
CPR-nummer {N:070761-4285}, Aarhus.
""",
    "ro": """
CNP {N:1640915188387}, Cluj.
""",
    "th": """
เลขบัตรประชาชน {N:5-0499-60486-68-1}
อีเมล {E:somchai@example.com}
""",
    "id": """
Hubungi {P:+62 812-345-678} atau {E:budi@example.org}.
""",
    "sw": """
Piga simu {P:0712 123456} leo.
Barua pepe: {E:juma@example.com}, simu {P:+254 712 123456}
""",
}
